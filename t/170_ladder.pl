# The ladder: each rung for each strategy, who is never signalled, and what
# freeze_sessions, freeze_check and freeze_drain() say of it, with real sessions.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main', streaming => 1, conf => q{
shared_preload_libraries = 'pg_freeze'
listen_addresses = '127.0.0.1'
autovacuum_naptime = 1s
pg_freeze.drain_log_after = 100ms
pg_freeze.idle_in_transaction_wait = 100ms
pg_freeze.cancel_wait = 100ms
pg_freeze.terminate_wait = 10s
});
make_application($node, tables => 5);
sql($node, q{
CREATE ROLE bob LOGIN;
CREATE ROLE carol LOGIN;
CREATE ROLE boss LOGIN SUPERUSER;
CREATE ROLE monitor LOGIN;
CREATE ROLE copier LOGIN REPLICATION;
CREATE DATABASE shop;
});

my %pid;	# of each session by its application_name

# Sessions by kind: idle; open: idle in a transaction that has written; busy; and
# stubborn, which takes no notice of a cancel.
sub session
{
	my ($name, %opt) = @_;
	local $ENV{PGHOSTADDR} = $opt{address} if $opt{address};
	my $session = $node->background_psql($opt{db} || 'postgres', on_error_stop => 0, replication => $opt{replication},
		extra_params => [ '-U', $opt{user} ]);

	$session->query_safe("SET application_name = '$name'; " . ($opt{sql} || ''));
	$pid{$name} = $session->query_safe('SELECT pg_backend_pid();');
	return $session;
}

sub start
{
	my ($name, $sql, %opt) = @_;
	my $call = start_sql($node, "SET application_name = '$name'; $sql", %opt);

	wait_until($node, qq{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = '$name' AND wait_event = 'PgSleep')});
	$pid{$name} = sql($node, qq{SELECT pid FROM pg_stat_activity WHERE application_name = '$name'});
	return $call;
}

sub idle { return session('idle', user => 'app', @_); }
sub in_transaction { return session('open', user => 'app', sql => 'BEGIN; INSERT INTO app.t1 (id) VALUES (1);', @_); }
sub busy { return start('busy', 'BEGIN; INSERT INTO app.t2 (id) VALUES (1); SELECT pg_sleep(1000);', user => 'app', @_); }

sub stubborn
{
	return start('stubborn', q{BEGIN; INSERT INTO app.t3 (id) VALUES (1);
DO $$ BEGIN LOOP BEGIN PERFORM pg_sleep(1000); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$}, user => 'app', @_);
}

# Which of the sessions are there, by name.
sub there
{
	my %at = map { $_ => 1 } split /\n/, sql($node, 'SELECT pid FROM pg_stat_activity');
	return join ' ', grep { $at{ $pid{$_} } } sort keys %pid;
}

sub forget { delete @pid{@_}; return; }

# "rung name" of each session that a freeze has signalled, in order.
sub rungs
{
	my ($id) = @_;
	my %name = reverse %pid;

	return join ', ', map { my ($rung, $pid) = split /\|/; "$rung $name{$pid}" }
	  split /\n/, sql($node, qq{SELECT rung, pid FROM freeze_sessions_signalled WHERE id = $id
		ORDER BY array_position(ARRAY['idle', 'idle in transaction', 'cancel', 'terminate'], rung), application});
}

sub last_id { return sql($node, 'SELECT max(id) FROM freeze_journal'); }
sub thaw { return sql($node, "SELECT count(*) FROM thaw($_[0])"); }

my $gone = q{SELECT count(*) = 0 FROM pg_stat_activity WHERE usename IN ('app', 'bob', 'carol')};

# --- the rungs --------------------------------------------------------------

my %freeze = (
	revoke => q{SELECT freeze_role('app', strategy => 'revoke', drain_timeout => '200ms', on_drain_timeout => '%s')},
	lock => q{SELECT freeze_role('app', strategy => 'lock', drain_timeout => '200ms', on_drain_timeout => '%s')},
	gate => q{SELECT freeze_role('app', strategy => 'gate', in_flight => 'drain', drain_timeout => '200ms', on_drain_timeout => '%s')},
	read_only => q{SELECT freeze_role('app', strategy => 'read_only', drain_timeout => '200ms', on_drain_timeout => '%s')},
	disconnect => q{SELECT freeze_role('app', mode => 'all', strategy => 'disconnect', drain_timeout => '200ms', on_drain_timeout => '%s')},
);

foreach my $strategy (sort keys %freeze)
{
	my $recycles = $strategy =~ /^(read_only|disconnect)$/;
	my $idle = idle();
	my $open = in_transaction();
	my $busy = busy();
	my $stubborn = stubborn();
	my $from = log_size($node);
	my ($state, $id, $err);

	($state, undef, $err) = try_sql($node, sprintf $freeze{$strategy}, 'abort');
	is($state, '55P03', "$strategy, abort: gives up") || diag($err);
	like($err, qr/DETAIL:.*\bsession $pid{$_}\b/, "$strategy, abort: names $_") foreach qw(open busy stubborn);
	unlike($err, qr/\bsession $pid{idle}\b/, "$strategy, abort: but not the idle one");
	like($err, qr/Before that: 1 idle session ended\.$/m, "$strategy, abort: which was ended") if $recycles;
	is(there(), $recycles ? 'busy open stubborn' : 'busy idle open stubborn', "$strategy, abort: and nobody else");
	is(rungs(last_id()), $recycles ? 'idle idle' : '', "$strategy, abort: as is written down");
	$id = last_id();
	like(slurp_file($node->logfile, $from),
		qr/LOG:  pg_freeze: freeze $id waits for: (?=.*session $pid{open} of role app \(open\), idle in transaction since)(?=.*session $pid{busy}\b)(?=.*session $pid{stubborn}\b)/,
		"$strategy: the log says who is waited for");

	if ($recycles)
	{
		$idle = idle();
		($state, undef, $err) = try_sql($node, sprintf $freeze{$strategy}, 'cancel');
		is($state, '55P03', "$strategy, cancel: gives up") || diag($err);
		is(rungs(last_id()), 'idle idle, cancel busy, cancel stubborn', "$strategy, cancel: who was signalled");
		is((finish_sql($busy))[0], '57014', "$strategy, cancel: the busy one was cancelled");
		is(there(), 'open stubborn', "$strategy, cancel: those are left who take no notice");
		like($err, qr/Before that: 1 idle session ended, session (\d+) cancelled, session \d+ cancelled\./, "$strategy, cancel: and that is said");
		$idle = idle();
		$busy = busy();
	}

	($state, $id, $err) = try_sql($node, sprintf $freeze{$strategy}, 'terminate');
	is($state, '', "$strategy, terminate: frozen") || diag($err);
	is(rungs($id), ($recycles ? 'idle idle, ' : '') . 'idle in transaction open, cancel busy, cancel stubborn, terminate stubborn',
		"$strategy, terminate: each by its rung");
	is(there(), $recycles ? '' : 'idle', "$strategy, terminate: who is left");
	is(sql($node, "SELECT session_user_name, application, query FROM freeze_sessions_signalled WHERE id = $id AND pid = $pid{busy}"),
		'app|busy|SELECT pg_sleep(1000);', "$strategy: who was signalled, and what it ran");
	is(sql($node, "SELECT cancelled, terminated FROM freeze_status WHERE id = $id"), $recycles ? '2|3' : '2|2', "$strategy: counted");
	thaw($id);
	finish_sql($_) foreach $stubborn;
	eval { finish_sql($busy) };
	eval { $_->{run}->finish } foreach $open;
	eval { $idle->{run}->kill_kill };
	wait_until($node, $gone);
	forget(qw(idle open busy stubborn));
}


# --- who is left alone --------------------------------------------------------

# everybody at once: a freeze of the cluster, and of a database from another one
my $receiver = IPC::Run::start([ $node->installed_command('pg_receivewal'), '-d', $node->connstr, '-U', 'copier', '-D', PostgreSQL::Test::Utils::tempdir ],
	'<', \undef, '>', \my $received, '2>', \my $complaints, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
wait_until($node, q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'walsender' AND usename = 'copier')});
$pid{walsender} = sql($node, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'walsender'});
sql($node, q{
CREATE TABLE slow WITH (autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1) AS SELECT i FROM generate_series(1, 50000) i;
DELETE FROM slow;
}, db => 'shop');
wait_until($node, q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'autovacuum worker' AND query LIKE '%public.slow%')});
$pid{autovacuum} = sql($node, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'autovacuum worker' AND query LIKE '%public.slow%'});
$node->append_conf('postgresql.conf', "pg_freeze.exempt_roles = 'monitor'");
$node->reload;
wait_until($node, q{SELECT current_setting('pg_freeze.exempt_roles') = 'monitor'});

my $boss = session('boss', user => 'boss', db => 'shop');
my $monitor = session('monitor', user => 'monitor', db => 'shop');
my $logical = session('logical', user => 'copier', db => 'shop', replication => 'database');
my $alone = 'autovacuum boss logical monitor walsender';

my $check = sql($node, q{SELECT kind, object, detail FROM freeze_check('database', 'shop', mode => 'all', strategy => 'disconnect') WHERE item = 'session'});
like($check, qr/^left alone\|$pid{$_->[0]}\|$_->[1]$/m, "freeze_check: leaves $_->[0] alone and says why")
  foreach [ boss => 'boss: superuser' ], [ monitor => 'monitor: exempt' ], [ logical => 'copier: walsender' ], [ autovacuum => '-: autovacuum worker' ];
foreach my $call (q{freeze_database('shop', mode => 'all', strategy => 'disconnect'},
	q{freeze_database('shop', strategy => 'read_only'}, q{freeze_cluster(strategy => 'read_only'}, q{freeze_cluster(mode => 'all', strategy => 'disconnect'})
{
	my $victim = session('victim', user => 'bob', db => 'shop');
	my ($state, $id, $err) = try_sql($node, "SELECT $call, drain_timeout => '0', on_drain_timeout => 'terminate')");

	is($state, '', "$call: frozen") || diag($err);
	is(there(), $alone, "$call: who is left");
	is(rungs($id), 'idle victim', "$call: who was ended");
	is(sql($node, "SELECT string_agg(CASE WHEN pid = $pid{boss} THEN 'boss ' WHEN pid = $pid{monitor} THEN 'monitor ' END || why, ', ' ORDER BY pid = $pid{monitor})
		FROM freeze_sessions WHERE id = $id AND next_rung IS NULL AND NOT in_flight AND pid IN ($pid{boss}, $pid{monitor})"),
		'boss superuser, monitor exempt', "$call: freeze_sessions says why");
	thaw($id);
	eval { $victim->{run}->finish };
	forget('victim');
}
# what was asked for
my $id = sql($node, q{SET pg_freeze.drain_superusers = on; SELECT freeze_database('shop', mode => 'all', strategy => 'disconnect')});
is(there(), 'autovacuum logical monitor walsender', 'pg_freeze.drain_superusers: the superuser was ended');
is(rungs($id), 'idle boss', 'pg_freeze.drain_superusers: and written down');
thaw($id);
eval { $boss->{run}->finish };
forget('boss');

# the caller, who is of the target
sql($node, q{CREATE ROLE oncall LOGIN; GRANT EXECUTE ON FUNCTION freeze_database, freeze_drain, thaw TO oncall});
my $caller = session('caller', user => 'oncall');
my $colleague = session('colleague', user => 'oncall');
$id = $caller->query(q{SELECT freeze_database(strategy => 'read_only', drain_timeout => '0', on_drain_timeout => 'terminate');});
like($id, qr/^\d+$/, 'a caller of the target freezes');
is(there() =~ s/ ?(autovacuum|logical|monitor|walsender) ?/ /gr =~ s/^ +| +$//gr, 'caller', 'and is not ended, but his colleague');
is(rungs($id), 'idle colleague', 'and only that one');
is(sql($node, "SELECT why, next_rung FROM freeze_sessions WHERE id = $id AND pid = $pid{caller}"), 'the session that froze|', 'freeze_sessions says so');
thaw($id);
eval { $colleague->{run}->finish };
forget('colleague');

$receiver->signal('TERM');
eval { $receiver->finish };
$logical->quit;
$monitor->quit;
$caller->quit;
sql($node, "SELECT pg_terminate_backend($pid{autovacuum})");
forget(split / /, "$alone caller");
$node->append_conf('postgresql.conf', "pg_freeze.exempt_roles = ''\nautovacuum = off");
$node->reload;

# --- prepared transactions, those who are read-only, who is idle for how long -----

sql($node, q{BEGIN; INSERT INTO app.t1 (id) VALUES (1); PREPARE TRANSACTION 'two phases'}, user => 'app');
my ($state, undef, $err) = try_sql($node, sprintf $freeze{read_only}, 'terminate');
is($state, '55P03', 'read_only waits for a prepared transaction');
like($err, qr/prepared transaction 'two phases' of role app/, 'and names it');
($state, $id, $err) = try_sql($node, sprintf $freeze{disconnect}, 'terminate');
is($state, '', 'disconnect does not') || diag($err);
thaw($id);
sql($node, q{ROLLBACK PREPARED 'two phases'}, user => 'app');

sql($node, q{
ALTER ROLE bob SET default_transaction_read_only = on;
ALTER ROLE carol IN DATABASE shop SET default_transaction_read_only = on;
ALTER ROLE carol SET default_transaction_read_only = off;
});
my %was = map { $_->[0] => session(@$_) } [ 'bob', user => 'bob', db => 'shop' ],
  [ 'carol', user => 'carol', db => 'shop' ], [ 'carol elsewhere', user => 'carol' ], [ 'app', user => 'app', db => 'shop' ];
$id = sql($node, q{SET pg_freeze.keep_read_only = on; SELECT freeze_cluster(strategy => 'read_only', drain_timeout => '0', on_drain_timeout => 'terminate')});
is(there(), 'bob carol', 'pg_freeze.keep_read_only leaves alone those who were');
is(sql($node, "SELECT DISTINCT why FROM freeze_sessions WHERE id = $id AND pid IN ($pid{bob}, $pid{carol})"), 'read-only by its settings', 'and freeze_sessions says so');
thaw($id);
$id = sql($node, q{SELECT freeze_cluster(strategy => 'read_only')});
is(there(), '', 'without it they are recycled too');
thaw($id);
eval { $_->{run}->finish } foreach values %was;
forget(keys %pid);
sql($node, 'ALTER ROLE bob RESET ALL; ALTER ROLE carol RESET ALL; ALTER ROLE carol IN DATABASE shop RESET ALL');

my $idle = idle();
($state, undef, $err) = try_sql($node, q{SET pg_freeze.idle_wait = '1h'; } . sprintf $freeze{disconnect}, 'abort');
is($state, '55P03', 'pg_freeze.idle_wait: a session that is not idle for long is not ended');
like($err, qr/session $pid{idle} of role app \(idle\), idle since/, 'and is in the way');
my $call = start_sql($node, q{SET pg_freeze.idle_wait = '800ms'; SELECT extract(epoch FROM clock_timestamp() - backend_start) FROM pg_stat_activity WHERE pid = pg_backend_pid();}
	. q{SELECT freeze_role('app', mode => 'all', strategy => 'disconnect', drain_timeout => '1h')});
(undef, $id, $err) = finish_sql($call);
like($id, qr/^\d+$/m, 'until it is') || diag($err);
is(rungs(last_id()), 'idle idle', 'by the rung for idle sessions');
thaw(last_id());
eval { $idle->{run}->finish };

# --- ^C ---------------------------------------------------------------------------

my $busy_one;
my $open = in_transaction();
$call = start_sql($node, q{SELECT freeze_role('app', mode => 'all', strategy => 'disconnect', drain_timeout => '1h')});
wait_until($node, q{SELECT EXISTS (SELECT FROM freeze_journal WHERE state = 'draining')});
is(sql($node, q{SELECT role, database, application, state, in_flight, writer, next_rung, why, query IS NULL FROM freeze_sessions}),
	'app|postgres|open|idle in transaction|t|t|idle in transaction|in a transaction that has written|f', 'freeze_sessions shows who is waited for');
is(sql($node, q{SELECT pid, query IS NULL, address IS NULL FROM freeze_sessions}, user => 'bob'), "$pid{open}|t|t", 'to everybody, but not what it runs');
sql($node, q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT freeze_role%' AND pid <> pg_backend_pid()});
is((finish_sql($call))[0], '57014', '^C ends the drain');
is(there(), 'open', 'and nobody');
is(join(',', live($node)), '', 'nothing is frozen');
is(sql($node, 'SELECT rolcanlogin FROM pg_roles WHERE rolname = $$app$$'), 't', 'and the role may log in');

# --- who does not react to a terminate: a process that is stopped -----------------

$open->quit;
forget(keys %pid);
$busy_one = busy();
kill 'STOP', $pid{busy};
my $short = q{SET pg_freeze.terminate_wait = '200ms'; };
($state, undef, $err) = try_sql($node, $short . sprintf $freeze{disconnect}, 'terminate');
is($state, '55P03', 'who does not react: gives up');
like($err, qr/within 500 ms.*In flight: session $pid{busy} .*Before that: session $pid{busy} cancelled, session $pid{busy} terminated\..*what does not react/s, 'who does not react: and says what was tried');
is(join(',', live($node)), '', 'who does not react: nothing is frozen');
kill 'CONT', $pid{busy};
finish_sql($busy_one);
$busy_one = busy();
kill 'STOP', $pid{busy};
$call = start_sql($node, $short . q{SELECT stop_role('app', 'goes on and on')});
wait_until($node, q{SELECT EXISTS (SELECT FROM freeze_sessions_signalled s JOIN freeze_journal j USING (id)
	WHERE s.rung = 'terminate' AND j.state = 'draining' AND s.at < clock_timestamp() - interval '1500 ms')});
kill 'CONT', $pid{busy};
(undef, $id, $err) = finish_sql($call);
like($id, qr/^\d+$/, 'stop_role does not give up') || diag($err);
is(rungs($id), 'cancel busy, terminate busy', 'and writes each rung down once');
sql($node, 'SELECT thaw_all()');
finish_sql($busy_one);
forget('busy');

# --- freeze_drain() -----------------------------------------------------------------

my $drained = 'SELECT application, coalesce(rung, $$-$$), gone, why FROM freeze_drain(%s) ORDER BY application';
my %sessions;

sub crowd
{
	%sessions = (%sessions, map { $_->[0] => session(@$_) } grep { !$sessions{ $_->[0] } } [ 'app one', user => 'app' ], [ 'app two', user => 'app', db => 'shop' ],
		[ 'bob', user => 'bob' ], [ 'local', user => 'carol', address => '127.0.0.1' ]);
	return;
}

# the name says who shall be gone
sub drains
{
	my ($what, $arguments, @gone) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $from = log_size($node);

	crowd();
	my @kept = grep { my $name = $_; !grep { $_ eq $name } @gone } sort keys %pid;
	is(sql($node, sprintf $drained, $arguments), join("\n", map { "$_|idle|t|ended while it was idle" } @gone), "freeze_drain by $what: what it says");
	is(there(), join(' ', @kept), "freeze_drain by $what: who is left");
	like(slurp_file($node->logfile, $from), qr/LOG:  pg_freeze: freeze_drain\(\) by \S+ terminated session $pid{$_} of role/, "freeze_drain by $what: $_ is in the log") foreach @gone;
	foreach (@gone)
	{
		eval { $sessions{$_}->{run}->finish };
		delete $sessions{$_};
		forget($_);
	}
	return;
}

drains('role', q{role => 'bob'}, 'bob');
drains('database', q{database => 'shop'}, 'app two');
drains('application', q{application => 'bob'}, 'bob');
drains('a part of the application', q{application => 'app %'}, 'app one', 'app two');
drains('address', q{address => '127.0.0.0/8'}, 'local');
drains('two of them', q{role => 'app', database => 'postgres'}, 'app one');
drains('state', q{state => 'idle in transaction', role => 'app'});
crowd();
sql($node, q{SELECT pg_sleep(greatest(0, extract(epoch FROM max(state_change) + interval '1100 ms' - clock_timestamp()))) FROM pg_stat_activity WHERE usename = 'app'});
my $new = session('new', user => 'app');
drains('age', q{role => 'app', older_than => '1 s' + (SELECT clock_timestamp() - state_change FROM pg_stat_activity WHERE application_name = 'new')}, 'app one', 'app two');
is($new->query('SELECT 1;'), '1', 'freeze_drain by age: the new one is still there');
$new->quit;
forget('new');
drains('nothing: all but me', q{everybody => true}, 'app one', 'app two', 'bob', 'local');

# transactions: those that are over by themselves, each rung, and cancel only
$idle = idle();
$open = in_transaction();
my $busy = busy();
my $stubborn = stubborn();
is(sql($node, sprintf $drained, q{role => 'app', on_drain_timeout => 'abort', drain_timeout => '0'}),
	"busy|-|f|is still there\nopen|-|f|is still there\nstubborn|-|f|is still there", 'freeze_drain with abort touches nobody');
is(sql($node, sprintf $drained, q{role => 'app', on_drain_timeout => 'cancel', drain_timeout => '0'}),
	"busy|cancel|t|cancelled\nopen|-|f|is still there\nstubborn|cancel|f|cancelled, and is still there", 'freeze_drain with cancel: only statements');
is((finish_sql($busy))[0], '57014', 'freeze_drain with cancel: the busy one was cancelled');
is(there(), 'idle open stubborn', 'freeze_drain with cancel: and no session ended');
$busy = busy();
is(sql($node, sprintf $drained, q{role => 'app', drain_timeout => '0'}),
	"busy|cancel|t|cancelled\nidle|idle|t|ended while it was idle\nopen|idle in transaction|t|ended while it was idle in a transaction\nstubborn|terminate|t|terminated",
	'freeze_drain: each rung');
wait_until($node, $gone);
finish_sql($_) foreach $stubborn, $busy;
eval { $_->{run}->finish } foreach $idle, $open;
forget(keys %pid);

# who has ceased to match is left alone
$busy = start('busy', 'SELECT pg_sleep(1000);', user => 'app');
$open = in_transaction();
$call = start_sql($node, sprintf $drained, q{role => 'app', state => 'active', drain_timeout => '1h'});
wait_until($node, q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '%freeze_drain%' AND wait_event_type = 'Extension')});
sql($node, "SELECT pg_cancel_backend($pid{busy})");
is((finish_sql($call))[1], 'busy|-|t|went by itself', 'freeze_drain by state: over when it is over');
is(there(), 'open', 'freeze_drain by state: and nobody else');
finish_sql($busy);

# ^C
$call = start_sql($node, sprintf $drained, q{role => 'app', drain_timeout => '1h'});
wait_until($node, q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '%freeze_drain%' AND wait_event_type = 'Extension')});
sql($node, q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%freeze_drain%' AND pid <> pg_backend_pid()});
is((finish_sql($call))[0], '57014', '^C ends freeze_drain');
is(there(), 'open', 'and nobody else');
forget('busy');

# who may: sessions of superusers, of roles that one is a member of, and of others
$boss = session('boss', user => 'boss');
my $bob = session('bob', user => 'bob');
is(sql($node, sprintf $drained, q{database => 'postgres', drain_timeout => '0', application => 'bo%'}),
	"bob|idle|t|ended while it was idle\nboss|-|f|session of a superuser, and pg_freeze.drain_superusers is off", 'a superuser ends no superusers by the way');
eval { $bob->{run}->finish };
$bob = session('bob', user => 'bob');
sql($node, 'GRANT bob TO oncall');
is(sql($node, sprintf($drained, q{database => 'postgres', drain_timeout => '0'}), user => 'oncall'),
	"bob|idle|t|ended while it was idle\nboss|-|f|session of a superuser\nopen|-|f|you may not end sessions of that role", 'somebody ends sessions of his roles only');
is(there(), 'boss open', 'and no others');
sql($node, 'GRANT pg_signal_backend TO oncall');
is(sql($node, q{SELECT application, rung, gone, query IS NULL FROM freeze_drain(database => 'postgres', drain_timeout => '0') ORDER BY application}, user => 'oncall'),
	"boss||f|t\nopen|idle in transaction|t|t", 'with pg_signal_backend others too, but no superusers; queries stay hidden');
is(sql($node, q{SELECT gone, query IS NULL FROM freeze_drain(role => 'boss', drain_timeout => '0')}), 't|f', 'a superuser who is named is ended by another');
eval { $_->{run}->finish } foreach $bob, $open, $boss;

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|XX000|deadlock detected/, 'nothing strange is in the log');
done_testing();
