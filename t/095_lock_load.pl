# Strategy lock under load: an application that writes several tables in random
# order is frozen and thawed in a loop.  No transaction of its fails, there is
# no deadlock, and nothing is written while it is frozen.  Then a freeze that
# can't succeed, and autovacuum in the way.
#
# PF_CLIENTS (10) and PF_SECONDS (15) make it bigger.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use List::Util qw(max);
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $clients = $ENV{PF_CLIENTS} || 10;
my $seconds = $ENV{PF_SECONDS} || 15;
my $node = new_server('main', conf => "log_statement = none\nlog_lock_waits = off\nautovacuum_naptime = 1s\n");
make_application($node, tables => 5);
my $dir = PostgreSQL::Test::Utils::tempdir('pgbench');

# Each client has its rows: what it waits for is the freeze, and not the others.
# A transaction adds 1 to four of the counters, or two, and one row to the log.
sql($node, qq{
SET ROLE app;
SELECT format('CREATE TABLE app.c%s (id int PRIMARY KEY, n bigint NOT NULL)', i),
	format('INSERT INTO app.c%s SELECT c, 0 FROM generate_series(1, $clients) c', i)
FROM generate_series(1, 6) i
\\gexec
CREATE TABLE app.parts (id int, n bigint) PARTITION BY HASH (id);
SELECT format('CREATE TABLE app.part%s PARTITION OF app.parts FOR VALUES WITH (MODULUS 4, REMAINDER %s)', i, i) FROM generate_series(0, 3) i
\\gexec
INSERT INTO app.parts SELECT c, 0 FROM generate_series(1, $clients) c;
CREATE TABLE app.log (id bigserial PRIMARY KEY, client int REFERENCES app.c1, adds int NOT NULL);
CREATE VIEW app.v AS SELECT * FROM app.c6;
});

my @steps = (
	(map { "UPDATE app.c$_ SET n = n + 1 WHERE id = :client_id + 1;" } 1 .. 5),
	'UPDATE app.v SET n = n + 1 WHERE id = :client_id + 1;',
	'UPDATE app.parts SET n = n + 1 WHERE id = :client_id + 1;',
	'SELECT n FROM app.c3 WHERE id = :client_id + 1 FOR UPDATE; UPDATE app.c3 SET n = n + 1 WHERE id = :client_id + 1;');

# Four steps in random order, with branches, and the log somewhere between.
sub step
{
	my ($variable) = @_;
	my $text = '';

	foreach my $i (0 .. $#steps)
	{
		$text .= ($i ? '\elif' : '\if') . " :$variable = $i\n" . join("\n", map { "$_;" } grep { /\S/ } split /;\s*/, $steps[$i]) . "\n";
	}
	return "$text\\endif\n";
}

my $insert = 'INSERT INTO app.log (client, adds) VALUES (:client_id + 1, %d);' . "\n";
append_to_file("$dir/random.sql", join('', map { "\\set s$_ random(0, $#steps)\n" } 1 .. 4)
	  . "\\set where random(1, 3)\nBEGIN;\n"
	  . "\\if :where = 1\n" . sprintf($insert, 4) . "\\endif\n" . step('s1') . step('s2')
	  . "\\if :where = 2\n" . sprintf($insert, 4) . "\\endif\n" . step('s3') . step('s4')
	  . "\\if :where = 3\n" . sprintf($insert, 4) . "\\endif\nEND;\n");
append_to_file("$dir/ordered.sql", "BEGIN;\n" . join("\n", @steps[0 .. 6]) . "\n" . sprintf($insert, 7) . "END;\n");

# Everything that the application writes, as one value.
my $state = q{
SELECT (SELECT sum(n) || ' ' || max(xmin::text::bigint) FROM (} . join(' UNION ALL ', map { "SELECT n, xmin FROM app.$_" } map({ "c$_" } 1 .. 6), map { "part$_" } 0 .. 3) . q{) c),
	(SELECT sum(adds) || ' ' || count(*) FROM app.log), (SELECT last_value FROM app.log_id_seq)};
my $consistent = 'SELECT (SELECT sum(n) FROM (' . join(' UNION ALL ', map { "SELECT n FROM app.$_" } map({ "c$_" } 1 .. 6), 'parts') . ') c) = (SELECT sum(adds) FROM app.log)';

sub start_load
{
	my ($script, $time, @options) = @_;
	my %load = (out => '', err => '');

	$load{harness} = IPC::Run::start(
		[ $node->installed_command('pgbench'), '-n', '-c', $clients, '-j', 2, '-T', $time, '-f', "$dir/$script.sql", '-U', 'app', @options, $node->connstr('postgres') ],
		'<', \undef, '>', \$load{out}, '2>', \$load{err});
	return \%load;
}

sub finish_load
{
	my ($load, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$load->{harness}->finish;
	is($load->{harness}->result(0), 0, "$what: the application never noticed more than a wait") || diag($load->{err});
	like($load->{out}, qr/number of failed transactions: 0 /, "$what: no transaction failed");
	unlike($load->{err}, qr/ERROR|FATAL|aborted/, "$what: and no client");
	my ($done) = $load->{out} =~ /number of transactions actually processed: (\d+)/;
	return $done || 0;
}

my $written = sub { return sql($node, 'SELECT last_value FROM app.log_id_seq'); };

# The targets and modes that take their turns.
my @calls = (
	q{freeze_schema('app', strategy => 'lock', drain_timeout => '5 s')},
	q{freeze_role('app', strategy => 'lock', drain_timeout => '5 s')},
	q{freeze_schema('app', mode => 'all', strategy => 'lock', drain_timeout => '5 s')},
	q{freeze_database(strategy => 'lock', drain_timeout => '5 s')});

foreach my $script ('random', 'ordered')
{
	my $load = start_load($script, $seconds, $script eq 'ordered' ? ('-M', 'prepared') : ());
	my ($tried, $frozen, $grown, $not_held, $other, $longest) = (0, 0, 0, 0, 0, 0);
	my $end = time + $seconds - 2;
	my $last;
	my $at_first = $written->();

	wait_until($node, "SELECT last_value > $at_first + 100 FROM app.log_id_seq");
	while (time < $end)
	{
		my $call = $calls[ $tried++ % @calls ];
		my $start = time;
		my ($error, $id, $err) = try_sql($node, "SELECT $call");
		$longest = max($longest, time - $start);
		$last = $err if $error ne '';
		if ($error eq '')
		{
			$frozen++;
			if ($call !~ /all/)
			{
				my $held = sql($node, $state);
				foreach (1 .. 4)
				{
					my $now = sql($node, $state);
					diag("freeze $id: $held, then $now") if $now ne $held && !$grown;
					$grown++ if $now ne $held;
				}
			}
			my $verdict = sql($node, "SELECT held IS DISTINCT FROM false, lost_reason FROM thaw($id)");
			diag("freeze $id: $verdict") if $verdict ne 't|' && !$not_held;
			$not_held++ if $verdict ne 't|';
		}
		elsif ($error ne '55P03')
		{
			diag($err) unless $other++;
		}
		# the application gets its turn
		my $now = $written->();
		usleep(10_000) while time < $end && $written->() <= $now + 20;
	}
	my $done = finish_load($load, $script);
	is($grown, 0, "$script: nothing is written while it is frozen");
	is($not_held, 0, "$script: each freeze held");
	is($other, 0, "$script: none failed but for want of time");
	cmp_ok($frozen, '>', 0, "$script: some succeeded") || diag($last);
	is(sql($node, $consistent), 't', "$script: and the sums are right");
	diag(sprintf '%s: %d clients, %d s, %d transactions: %d of %d freezes succeeded, the longest took %d ms', $script, $clients, $seconds, $done, $frozen, $tried, 1000 * $longest);
}

# --- a freeze that can't succeed ----------------------------------------------

my %longest;
my $trying = max(4, int($seconds / 3));
foreach my $with ('no freeze', 'a freeze that keeps trying')
{
	my $log = "$dir/" . ($with eq 'no freeze' ? 'without' : 'with');
	my $idle = open_session($node, user => 'app');
	$idle->query_safe('BEGIN; UPDATE app.t1 SET id = 1; INSERT INTO app.t1 (id) VALUES (1);');
	my $load = start_load('random', $trying, '-l', "--log-prefix=$log");
	if ($with ne 'no freeze')
	{
		my ($error, undef, $err) = try_sql($node, sprintf q{SELECT freeze_schema('app', strategy => 'lock', drain_timeout => '%d s')}, $trying - 1);
		is($error, '55P03', 'a freeze with an idle writer in its way gives up');
		my $pid = $idle->query_safe('SELECT pg_backend_pid();');
		like($err, qr/DETAIL:.*\b$pid\b/s, 'and names it');
		is(strong_locks($node), '0', 'and nothing stays locked');
	}
	finish_load($load, $with);
	$longest{$with} = max(map { (split / /)[2] } map { split /\n/, slurp_file($_) } glob "$log*") / 1000;
	$idle->query_safe('ROLLBACK;');
	$idle->quit;
}
# far above what is promised, for machines that are busy with other things
cmp_ok($longest{'a freeze that keeps trying'}, '<', 3000, 'the application does not pile up behind a freeze that is not there yet');
diag('longest transaction of the application with ' . join(', with ', map { sprintf '%s: %d ms', $_, $longest{$_} } sort { $b cmp $a } keys %longest));

is(sql($node, $consistent), 't', 'and the sums are right');

# --- autovacuum in the way ----------------------------------------------------

sql($node, q{
SET ROLE app;
CREATE TABLE app.worn (id int) WITH (autovacuum_enabled = off, autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0,
	autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1);
INSERT INTO app.worn SELECT generate_series(1, 100000);
DELETE FROM app.worn WHERE id % 2 = 0;
ALTER TABLE app.worn SET (autovacuum_enabled = on)});
my $log = log_size($node);
wait_until($node, q{SELECT EXISTS (SELECT FROM pg_stat_progress_vacuum p JOIN pg_stat_activity a USING (pid)
	WHERE p.relid = 'app.worn'::regclass AND a.backend_type = 'autovacuum worker')});
my ($error, $id, $err) = try_sql($node, q{SELECT freeze_schema('app', strategy => 'lock', drain_timeout => '30 s')});
is($error, '', 'autovacuum is in the way of a freeze only for a while') || diag($err);
$node->wait_for_log(qr/canceling autovacuum task/, $log) if $error eq '';
pass('it was asked to go');
is(statement_goes($node, 'DELETE FROM app.worn WHERE id = 1', user => 'app'), 'waits', 'and the freeze is in force');
sql($node, "SELECT thaw($id)");

# The kind that prevents wraparound is not asked, nor ended by the ladder.
sql($node, q{
DROP TABLE app.worn;
SET ROLE app;
CREATE TABLE app.old (id int) WITH (autovacuum_enabled = off, autovacuum_freeze_max_age = 100000,
	autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1);
INSERT INTO app.old SELECT generate_series(1, 100000)});
# in transactions that write nothing
sql($node, q{DO $$ BEGIN FOR i IN 1 .. 100100 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$});
my $vacuum = q{SELECT pid FROM pg_stat_activity WHERE query ~ '^autovacuum: .*app\.old \(to prevent wraparound\)'};
wait_until($node, "SELECT EXISTS ($vacuum)");
my $pid = sql($node, $vacuum);
($error, undef, $err) = try_sql($node, q{SELECT freeze_schema('app', strategy => 'lock', drain_timeout => '500 ms', on_drain_timeout => 'terminate')});
is($error, '55P03', 'a vacuum that prevents wraparound is in the way of a freeze');
like($err, qr/DETAIL:.*\b$pid\b/s, 'and is named');
is(sql($node, $vacuum), $pid, 'and nobody ends it');
is(strong_locks($node), '0', 'nothing stays locked');

is(sql($node, 'SELECT sum(deadlocks) FROM pg_stat_database'), '0', 'the server has counted no deadlock');
unlike(slurp_file($node->logfile), qr/deadlock detected|PANIC|TRAP|XX000/, 'and the log has none');
done_testing();
