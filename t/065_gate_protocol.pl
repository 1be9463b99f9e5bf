# What the protocol looks like to a client of a frozen role: errors in the
# middle of a pipeline, every way out of a wait at every door.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin, "$FindBin::RealBin/write_paths";
use PgFreezeTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);
use Wire;

my $node = new_server('main', conf => q{
shared_preload_libraries = 'pg_freeze'
pg_freeze.strategy = 'gate'
pg_freeze.exempt_roles = 'observer'
});
my $version = int(sql($node, 'SHOW server_version_num') / 10000);

sql($node, q{
CREATE EXTENSION pg_freeze;
CREATE ROLE app LOGIN;
CREATE ROLE observer LOGIN SUPERUSER;
CREATE SCHEMA app AUTHORIZATION app;
SET ROLE app;
CREATE TABLE app.t (a int);
CREATE SEQUENCE app.q;
});

my $observer = session('observer');

sub session
{
	my ($user) = @_;
	return Wire->connect($node, user => $user, database => 'postgres', application_name => 'protocol');
}

sub rows { return $observer->value('SELECT count(*) FROM app.t') }

sub freeze
{
	my ($call) = @_;
	my $error = $observer->query("SELECT $call");
	die "$call: $error->{M}" if $error;
	return $observer->{rows}[0][0];
}

sub thaw
{
	my ($id) = @_;
	my $error = $observer->query("SELECT held FROM thaw($id)");
	die "thaw: $error->{M}" if $error;
	return $observer->{rows}[0][0];
}

sub poll
{
	my ($what, $condition) = @_;
	my $end = time + $PostgreSQL::Test::Utils::timeout_default;
	until ($condition->())
	{
		die "timed out: $what" if time > $end;
		usleep(10_000);
	}
	return;
}

# ---- refused ---------------------------------------------------------------

# The types of the messages up to ReadyForQuery, and the error.
sub answers
{
	my ($s) = @_;
	my ($types, $error) = ('');
	while (1)
	{
		my $head = $s->bytes(5);
		return ($types, { C => '08006', M => 'connection closed' }) unless defined $head;
		my ($type, $length) = unpack 'aN', $head;
		my $body = $length > 4 ? $s->bytes($length - 4) : '';
		$types .= $type;
		$error = { map { (substr($_, 0, 1) => substr($_, 1)) } split /\0/, $body } if $type eq 'E';
		$s->{state} = $body if $type eq 'Z';
		return ($types, $error) if $type eq 'Z';
	}
}

sub execute { my ($s, $sql) = @_; return $s->parse('', $sql)->bind('', '')->execute('') }

my $error;
my $insert = 'INSERT INTO app.t VALUES (1)';
my $s = session('app');
my $id = freeze(q{freeze_role('app', action => 'reject', reason => 'backup of the volume')});
my ($types, $e) = answers(execute($s, $insert)->message('S'));
is($types, '12EZ', 'Execute of a write is refused');
is_deeply([ @$e{qw(S C M)} ], [ 'ERROR', '25006', 'role app is frozen, its sessions are read-only' ], 'with the words of the contract');
like($e->{D}, qr/^Freeze $id of database postgres, made by observer, in force since 20[^,]+, no deadline\. Reason: backup of the volume\.$/, 'DETAIL');
is($e->{H}, "Try again after the thaw. Whoever may thaw it runs SELECT * FROM thaw($id);", 'HINT');
is($s->{state}, 'I', 'and the session is ready again');

execute($s, 'SELECT 1');
execute($s, $insert);
execute($s, 'SELECT 2');
($types, $e) = answers($s->message('S'));
is($types, '12DC12EZ', 'in a pipeline what comes before is done, what comes after is skipped');
is($s->value('SELECT 3'), 3, 'the session goes on');

$s->query('BEGIN');
$error = $s->query($insert);
is_deeply([ $error->{C}, $s->{state} ], [ '25006', 'E' ], 'a transaction block is aborted');
$s->query('COMMIT');
is($s->{state}, 'I', 'and ends');
$s->query('BEGIN');
$s->query('SAVEPOINT a');
$s->query($insert);
$error = $s->query('ROLLBACK TO a');
is_deeply([ $error, $s->{state} ], [ undef, 'T' ], 'or goes on from a savepoint');
$error = $s->query('COMMIT');
is($error, undef, 'and commits, as it has not written');

($types, $e) = answers($s->message(Q => "COPY app.t FROM STDIN\0"));
is($types, 'EZ', 'COPY is refused before it asks for data');
($types, $e) = answers($s->message(Q => "SELECT 1; $insert; SELECT 2\0"));
is($types, 'TDCEZ', 'so is the rest of a message of several statements');
$error = $s->call(1574, 'app.q');
is_deeply([ $error->{C}, $s->{state} ], [ '25006', 'I' ], 'nextval through the fast path is refused');
$error = $s->call(2026);
is($error, undef, 'pg_backend_pid through the fast path is not');
($types, $e) = answers(execute($s, 'SELECT pg_current_xact_id()')->message('S'));
is_deeply([ $types, $e->{C}, $s->{state} ], [ '12DCEZ', '25006', 'I' ], 'a commit is refused at Sync');
thaw($id);
is($s->query($insert), undef, 'after the thaw the session writes');

foreach ([ "freeze_database(action => 'reject')", 'database postgres' ], [ "freeze_cluster(action => 'reject')", 'the cluster' ])
{
	my ($call, $what) = @$_;
	$id = freeze($call);
	$error = $s->query($insert);
	is_deeply([ @$error{qw(C M)} ], [ '25006', "$what is frozen, its sessions are read-only" ], "words for $what");
	is(thaw($id), 't', "$what: held");
}
$id = freeze("freeze_role('app', action => 'reject', mode => 'all')");
$error = $s->query('SELECT * FROM app.t');
is_deeply([ @$error{qw(C M)} ], [ '55P03', 'role app is frozen, nothing of it goes on' ], 'a read in mode all');
$error = $s->call(2026);
is($error->{C}, '55P03', 'any function through the fast path in mode all');
is($s->query($_), undef, "$_ in mode all") foreach 'SHOW work_mem', 'BEGIN', "SET work_mem = '5MB'", 'ROLLBACK', 'DISCARD ALL';
thaw($id);
$s->close;

# ---- waiting ---------------------------------------------------------------

# A way to come to a door: what the session does before the freeze, what it
# sends then, which door that is.
my @ways = (
	[ simple => undef, sub { $_[0]->send($insert) }, 'statement' ],
	[ extended => sub { $_[0]->parse(p => $insert)->sync }, sub { $_[0]->bind('', 'p')->execute('')->message('S') }, 'statement' ],
	[ copy => undef, sub { $_[0]{copy} = "1\n"; $_[0]->send('COPY app.t FROM STDIN') }, 'statement' ],
	[ utility => undef, sub { $_[0]->send("COMMENT ON TABLE app.t IS 'x'") }, 'statement' ],
	[ cursor => sub { $_[0]->query('BEGIN'); $_[0]->query('DECLARE c CURSOR FOR SELECT a FROM app.t FOR UPDATE') }, sub { $_[0]->send('FETCH ALL FROM c') }, 'statement' ],
	[ function => undef, sub { $_[0]->send("SELECT nextval('app.q')") }, 'function' ],
	[ fast => undef, sub { my ($s) = @_; $s->message(F => pack('Nnn', 1574, 0, 1) . pack('N', 5) . 'app.q' . pack('n', 0)) }, 'function' ],
	[ commit => sub { $_[0]->query('BEGIN'); $_[0]->query($insert) }, sub { $_[0]->send('COMMIT') }, 'commit' ],
	[ implicit => undef, sub { $_[0]->send('SELECT pg_current_xact_id()') }, 'commit' ],
	[ sync => sub { $_[0]->parse('', $insert)->bind('', '')->execute('')->message('H')->until('C') }, sub { $_[0]->message('S') }, 'commit' ]);

# Sessions that wait, one of each way.
sub all_wait
{
	my (@settings) = @_;
	my @waiting;

	foreach my $way (@ways)
	{
		my ($name, $before) = @$way;
		my $one = session('app');
		$one->query($_) foreach @settings;
		$before->($one) if $before;
		push @waiting, { name => $name, s => $one, door => $way->[3], send => $way->[2] };
	}
	my $freeze = freeze("freeze_role('app')");
	$_->{send}->($_->{s}) foreach @waiting;
	return ($freeze, @waiting);
}

sub until_all_wait
{
	my (@waiting) = @_;
	poll('all wait', sub { $observer->value('SELECT count(*) FROM freeze_waiters') == @waiting });
	return;
}

sub ends_with
{
	my ($what, $code, $message, $freeze, @waiting) = @_;
	foreach (@waiting)
	{
		my $answer = $_->{s}->ready;
		is_deeply([ @$answer{qw(C M)} ], [ $code, $message ], "$what: $_->{name}");
		if ($code =~ /^57P/) { next }
		$_->{s}->query('ROLLBACK') if $_->{s}{state} eq 'E';
		is($_->{s}{state}, 'I', "$what: $_->{name} is ready again");
		is($_->{s}->value('SELECT 1'), 1, "$what: $_->{name} goes on");
	}
	is($observer->value('SELECT count(*) FROM freeze_waiters'), 0, "$what: nobody waits any more");
	is(thaw($freeze), 't', "$what: held");
	foreach (@waiting) { $_->{s}->close }
	return;
}

my $before = rows();
my ($freeze, @waiting) = all_wait();
until_all_wait(@waiting);
foreach (@waiting)
{
	is($observer->value("SELECT object FROM freeze_waiters WHERE pid = $_->{s}{pid}"), $_->{door}, "$_->{name} waits at the right door");
	is($observer->value("SELECT wait_event_type || ' ' || wait_event FROM pg_stat_activity WHERE pid = $_->{s}{pid}"),
		$version >= 17 ? 'Extension PgFreezeGate' : 'Extension Extension', "$_->{name}: the wait event");
}
$_->{s}->cancel($node) foreach @waiting;
ends_with('cancel', '57014', 'canceling statement due to user request', $freeze, @waiting);

($freeze, @waiting) = all_wait("SET statement_timeout = '400ms'");
ends_with('statement_timeout', '57014', 'canceling statement due to statement timeout', $freeze, @waiting);

($freeze, @waiting) = all_wait("SET lock_timeout = '400ms'");
ends_with('lock_timeout', '55P03', 'canceling statement due to lock timeout', $freeze, @waiting);

($freeze, @waiting) = all_wait();
until_all_wait(@waiting);
$observer->value("SELECT pg_terminate_backend($_->{s}{pid})") foreach @waiting;
ends_with('terminate', '57P01', 'terminating connection due to administrator command', $freeze, @waiting);

($freeze, @waiting) = all_wait();
until_all_wait(@waiting);
$observer->value("SELECT freeze_alter($freeze, action => 'reject')");
ends_with('freeze_alter', '25006', 'role app is frozen, its sessions are read-only', $freeze, @waiting);

$observer->query("SET pg_freeze.max_wait = '400ms'");
($freeze, @waiting) = all_wait();
ends_with('max_wait', '55P03', 'role app is frozen, and this has waited for 0.4 s', $freeze, @waiting);
$observer->query('RESET pg_freeze.max_wait');

# a client that is gone
($freeze, @waiting) = all_wait();
until_all_wait(@waiting);
$_->{s}{socket}->close foreach @waiting;
poll('they are gone', sub { $observer->value("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'") == 0 });
is(thaw($freeze), 't', 'gone clients: held');

is(rows(), $before, 'none of them has written');

$observer->query("SET pg_freeze.notice_after = '100ms'");
($freeze, @waiting) = all_wait();
until_all_wait(@waiting);
foreach (@waiting)
{
	$_->{s}->until('N');
	my $notice = pop @{ $_->{s}{notices} };
	is_deeply([ @$notice{qw(S M)} ], [ 'NOTICE', 'waiting, because role app is frozen' ], "notice_after: $_->{name} is told");
	like($notice->{D}, qr/^Freeze $freeze of database postgres/, "notice_after: $_->{name} is told what it is");
}
is(thaw($freeze), 't', 'thaw: held');
foreach (@waiting)
{
	my $answer = $_->{s}->ready;
	is($answer, undef, "thaw: $_->{name} goes on") || diag $answer->{M};
	$_->{s}->query('COMMIT') if $_->{s}{state} ne 'I';
	is($_->{s}->query($insert), undef, "thaw: $_->{name} writes again");
	$_->{s}->close;
}
is(rows(), $before + 5 + @waiting, 'all of them have written');

$node->stop;
done_testing();
