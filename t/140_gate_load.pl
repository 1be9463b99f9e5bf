# Strategy gate under load: writing clients are frozen and thawed in a loop.
# No client sees an error, and nothing of the target is committed between
# "frozen" and thaw: two looks at the counters in each hold, and the WAL.
#
# PF_CLIENTS (50) and PF_SECONDS (10) make it bigger, PF_ROUNDS chooses among
# the rounds, PF_JUDGE=1 turns the figures into assertions.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use List::Util qw(max min sum0);
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $clients = $ENV{PF_CLIENTS} || 50;
my $seconds = $ENV{PF_SECONDS} || 10;
my $dir = PostgreSQL::Test::Utils::tempdir('pgbench');
my $patience_most = 30;    # s, below pg_freeze.max_wait

# fsync, because figures count in commits
my $node = new_server('main', conf => qq{
shared_preload_libraries = 'pg_freeze'
max_connections = @{[ 2 * $clients + 50 ]}
fsync = on
autovacuum = off
wal_keep_size = '8GB'
log_statement = none
log_min_messages = warning
});

sql($node, qq{
CREATE EXTENSION pg_freeze;
CREATE ROLE app LOGIN;
CREATE ROLE bystander LOGIN;
CREATE SCHEMA app AUTHORIZATION app;
CREATE SCHEMA beside AUTHORIZATION bystander;
SELECT format('SET ROLE %s', o), format('CREATE TABLE %s.counters (id int PRIMARY KEY, n bigint NOT NULL) WITH (fillfactor = 20)', s),
	format('INSERT INTO %s.counters SELECT c, 0 FROM generate_series(1, $clients) c', s),
	format('CREATE TABLE %s.history (client int, n bigint, at timestamptz DEFAULT clock_timestamp())', s),
	format('CREATE TABLE %s.acked (id int)', s), 'RESET ROLE'
FROM (VALUES ('app', 'app'), ('bystander', 'beside')) v (o, s)
\\gexec
CREATE TABLE app.took (ms float8);
CREATE TABLE app.probe (i int);
CREATE PROCEDURE app.measure(n int) LANGUAGE plpgsql AS \$\$
DECLARE
	start timestamptz;
	took float8[];
BEGIN
	FOR i IN 1 .. n LOOP
		INSERT INTO app.probe VALUES (i);
		start := clock_timestamp();
		COMMIT;
		took := took || (1000 * extract(epoch FROM clock_timestamp() - start))::float8;
	END LOOP;
	TRUNCATE app.took;
	INSERT INTO app.took SELECT unnest(took);
END
\$\$;
});

# One statement, and a transaction of several, each in two schemas.
foreach my $schema ('app', 'beside')
{
	append_to_file("$dir/$schema.one.sql", "WITH u AS (UPDATE $schema.counters SET n = n + 1 WHERE id = :client_id + 1 RETURNING id, n) INSERT INTO $schema.history SELECT id, n FROM u;\n");
	append_to_file("$dir/$schema.several.sql", "BEGIN;\nSELECT n FROM $schema.counters WHERE id = :client_id + 1;\n"
		  . "UPDATE $schema.counters SET n = n + 1 WHERE id = :client_id + 1;\nINSERT INTO $schema.history VALUES (:client_id + 1, 0);\nEND;\n");
}
append_to_file("$dir/read.sql", "SELECT n FROM app.counters WHERE id = :client_id + 1;\n");

# ---- the load ------------------------------------------------------------------

sub start_pgbench
{
	my ($schema, %opt) = @_;
	my %load = (out => '', err => '', log => "$dir/log.$opt{name}.$schema", schema => $schema);
	my @scripts = $opt{scripts} ? @{ $opt{scripts} } : map { "$schema.$_" } 'one', 'several';

	$load{clients} = $opt{clients} || $clients;
	$load{harness} = IPC::Run::start(
		[ $node->installed_command('pgbench'), '-n', '-c', $load{clients}, '-j', 2, '-T', $opt{seconds}, (map { ('-f', "$dir/$_.sql") } @scripts),
			'-M', $opt{protocol} || 'simple', '-l', "--log-prefix=$load{log}", '-U', $opt{user}, $node->connstr('postgres') ],
		'<', \undef, '>', \$load{out}, '2>', \$load{err});
	return \%load;
}

sub finish_pgbench
{
	my ($load, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$load->{harness}->finish;
	is($load->{harness}->result(0), 0, "$what: pgbench ends well") || diag($load->{err});
	like($load->{out}, qr/number of failed transactions: 0 /, "$what: no transaction failed") || diag($load->{err});
	unlike($load->{err}, qr/ERROR|FATAL|aborted/, "$what: no client saw an error");
	my ($done) = $load->{out} =~ /number of transactions actually processed: (\d+)/;
	# when each transaction ended, by client
	foreach my $line (map { split /\n/, slurp_file($_) } glob "$load->{log}.*")
	{
		my ($client, undef, undef, undef, $epoch, $us) = split / /, $line;
		push @{ $load->{ended}[$client] }, $epoch + $us / 1e6;
	}
	return $done || 0;
}

# psqls that go on after an error: each gets the same text again and again.
my $repeat = 'my ($end, $text) = (time + shift, shift); $SIG{PIPE} = sub { exit 1 }; $| = 1; while (time < $end) { print $text or last }';

sub start_psqls
{
	my (%opt) = @_;
	my %load = (psqls => []);

	foreach my $i (1 .. $opt{clients})
	{
		# into files: nobody reads a pipe while the administrator waits for a freeze
		my %psql = (out => "$dir/psql.$i.out", err => "$dir/psql.$i.err");
		$psql{harness} = IPC::Run::start(
			[ $^X, '-e', $repeat, $opt{seconds}, "INSERT INTO app.acked VALUES ($i);\nBEGIN;\nINSERT INTO app.acked VALUES ($i), ($i);\nSELECT 1;\nCOMMIT;\n" ],
			'|', [ $node->installed_command('psql'), '-XAt', '-v', 'VERBOSITY=sqlstate', '-U', $opt{user}, '-d', $node->connstr('postgres') ],
			'>', $psql{out}, '2>', $psql{err});
		push @{ $load{psqls} }, \%psql;
	}
	return \%load;
}

# Rows whose commit was acknowledged, and the errors by SQLSTATE.
sub finish_psqls
{
	my ($load) = @_;
	my $acked = 0;
	my %errors;

	foreach my $psql (@{ $load->{psqls} })
	{
		my $pending = 0;

		$psql->{harness}->finish;
		foreach my $line (split /\n/, slurp_file($psql->{out}))
		{
			$pending = 0 if $line eq 'BEGIN' || $line eq 'ROLLBACK';
			$acked++ if $line eq 'INSERT 0 1';
			$pending = 2 if $line eq 'INSERT 0 2';
			$acked += $pending if $line eq 'COMMIT';
		}
		$errors{$_}++ foreach slurp_file($psql->{err}) =~ /(?:ERROR|FATAL|PANIC):  (\w+)/g;
	}
	return ($acked, \%errors);
}

# ---- figures -----------------------------------------------------------------------

sub median { return quantile(0.5, @_); }

sub quantile
{
	my ($q, @values) = @_;
	@values = sort { $a <=> $b } @values;
	return @values ? $values[ min($#values, int($q * @values)) ] : 0;
}

sub figures { return @_ ? sprintf('%.1f/%.1f/%.1f ms', median(@_), quantile(0.9, @_), max(@_)) : 'none'; }

# How long after a thaw the last of its clients has committed, in ms.
sub resumed
{
	my ($load, $thawed_at) = @_;
	my $longest = 0;

	foreach my $ended (@{ $load->{ended} })
	{
		my ($low, $high) = (0, scalar @$ended);
		while ($low < $high)
		{
			my $middle = int(($low + $high) / 2);
			$ended->[$middle] > $thawed_at ? ($high = $middle) : ($low = $middle + 1);
		}
		$longest = max($longest, 1000 * ($ended->[$low] - $thawed_at)) if $low < @$ended;
	}
	return $longest;
}

# ---- rounds ------------------------------------------------------------------------

my @verdict = qw(id held lost_reason frozen_lsn thawed_lsn frozen_at thawed_at);
my $verdict = q{id, held, lost_reason, frozen_lsn, thawed_lsn, extract(epoch FROM frozen_at), extract(epoch FROM thawed_at)};
my $look = 'SELECT sum(n), max(xmin::text::bigint) FROM app.counters';
my $dba = open_dba($node);

# Polls until each of n clients has written since "counters" were so; false if one never does.
sub everybody_runs
{
	my ($n, $counters) = @_;
	my $end = time + $patience_most;

	while (time < $end)
	{
		return 1 if ask($dba, "SELECT bool_and(c.n > h.n) FROM unnest('$counters'::bigint[]) WITH ORDINALITY h (n, id) JOIN app.counters c USING (id) WHERE id <= $n") eq 't';
		usleep(1000);
	}
	return 0;
}

# call: what freezes; schemas: who writes where; all: the whole database is
# frozen; full: how often a hold lasts until everybody waits (every n-th).
sub round
{
	my ($name, %opt) = @_;
	return if $ENV{PF_ROUNDS} && $name !~ /$ENV{PF_ROUNDS}/;
	my (@holds, @called, @closed, @thawed, @resumed, %doors);
	my ($grown, $bad, $stopped, $waited) = (0, 0, 0, 0);
	my $from = ask($dba, 'SELECT pg_current_wal_insert_lsn()');
	my $counters = 'SELECT array_agg(n ORDER BY id) FROM app.counters';
	my $begin = ask($dba, $counters);
	# the freezes begin when everybody is there, and have an end before the load has
	my @loads = map { start_pgbench($_, %opt, name => $name, seconds => $opt{seconds} + 3, user => $_ eq 'app' ? $opt{user} || 'app' : 'bystander') } @{ $opt{schemas} || ['app'] };
	my $beside = @loads > 1;
	my $n = $loads[0]{clients};

	everybody_runs($n, $begin) or die "$name: the load doesn't begin";
	ask($dba, 'CALL app.measure(100)');
	my $commit = ask($dba, 'SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) FROM app.took');
	my $end = time + $opt{seconds};

	while (time < $end)
	{
		my ($id, $ms) = ask($dba, "SELECT $opt{call}");
		my $first = ask($dba, $look);
		my $others = $beside ? ask($dba, 'SELECT sum(n) FROM beside.counters') : 0;
		my $full = $opt{full} && @holds % $opt{full} == $opt{full} - 1;
		if ($full)
		{
			my $patience = time + $patience_most;
			usleep(1000) until ask($dba, "SELECT count(*) >= $n FROM freeze_waiters WHERE id = $id") eq 't' || time > $patience;
			foreach my $row (split /\n/, ask($dba, 'SELECT object, count(*) FROM freeze_waiters GROUP BY 1'))
			{
				my ($object, $count) = split /\|/, $row;
				$doors{$object} += $count;
			}
			$waited++;
		}
		# who isn't meant goes on
		if ($beside)
		{
			my $patience = time + $patience_most;
			my $goes = 0;
			usleep(1000) until ($goes = ask($dba, "SELECT sum(n) > $others FROM beside.counters") eq 't') || time > $patience;
			$stopped++ unless $goes;
		}
		my $second = ask($dba, $look);
		diag("$name, freeze $id: $first, then $second") if $second ne $first && !$grown++;
		push @closed, ask($dba, "SELECT 1000 * extract(epoch FROM j.frozen_at - g.closed_at) FROM freeze_journal j, freeze_gate(j.id) g WHERE j.id = $id");
		my $held = $full ? ask($dba, $counters) : undef;
		my ($row, $thaw_ms) = ask($dba, "SELECT $verdict FROM thaw($id)");
		my %hold;
		@hold{@verdict} = split /\|/, $row, -1;
		push @holds, \%hold;
		push @called, $ms;
		push @thawed, $thaw_ms;
		$bad++ if "$hold{held}|$hold{lost_reason}" ne 't|';
		diag("$name, freeze $id: held $hold{held}, $hold{lost_reason}") if $bad == 1;
		if ($full)
		{
			fail("$name: everybody goes on after thaw") unless everybody_runs($n, $held);
			$hold{full} = 1;
		}
		elsif ($opt{pause})
		{
			my $sum = ask($dba, 'SELECT sum(n) FROM app.counters');
			usleep(1000) until ask($dba, "SELECT sum(n) > $sum + $opt{pause} FROM app.counters") eq 't' || time > $end;
		}
	}
	my $done = sum0(map { finish_pgbench($_, "$name, $_->{schema}") } @loads);
	my ($others, @found) = commits_in_holds($node, $opt{all}, $from, @holds);

	is($grown, 0, "$name: no two looks in a hold differ");
	is($bad, 0, "$name: each freeze held");
	is($stopped, 0, "$name: who isn't meant goes on") if $beside;
	is(scalar @found, 0, "$name: the WAL has no commit between frozen and thaw") || diag(scalar @found, " of them:\n", @found[ 0 .. min(4, $#found) ]);
	cmp_ok($others, '>', $done / 4, "$name: and pg_waldump shows the others");
	cmp_ok(scalar @holds, '>', 2, "$name: it was frozen more than twice");
	cmp_ok($waited, '>', 0, "$name: and everybody waited") if $opt{full};
	is(sql($node, 'SELECT (SELECT sum(n) FROM app.counters) = (SELECT count(*) FROM app.history)'), 't', "$name: the sums are right");
	@resumed = map { resumed($loads[0], $_->{thawed_at}) } grep { $_->{full} } @holds;
	diag(sprintf '%s: %d clients, %d transactions, %d freezes; a commit %.1f ms; median/90%%/longest: close to frozen %s = %.1f/%.1f/%.1f commits, call %s, thaw call %s, thaw to the last client\'s commit %s%s',
		$name, $n, $done, scalar @holds, $commit, figures(@closed), map({ $_ / $commit } median(@closed), quantile(0.9, @closed), max(@closed)),
		figures(@called), figures(@thawed), figures(@resumed), %doors ? '; waited: ' . join(', ', map { "$_ $doors{$_}" } sort keys %doors) : '');
	if ($ENV{PF_JUDGE} && $opt{judge})
	{
		cmp_ok(median(@closed), '<=', 3 * $commit, "$name: frozen within three commits of the closing");
		cmp_ok(median(@called), '<=', 100, "$name: the call is back within 100 ms");
		cmp_ok(median(@resumed), '<=', 50, "$name: all clients run within 50 ms of thaw");
	}
	return;
}

my $short = max(2, int($seconds / 3));

# The one that is judged: a database, every other hold until everybody waits.
round('database', call => q{freeze_database(strategy => 'gate')}, seconds => $seconds, all => 1, full => 2, judge => 1);

# Many freezes among fast commits: the barrier's own race, by a superuser.
sql($node, 'ALTER ROLE app SET synchronous_commit = off');
round('race', call => q{freeze_database(strategy => 'gate')}, seconds => $short, all => 1, pause => 1, clients => min($clients, 8), scripts => ['app.one'],
	protocol => 'prepared');
sql($node, 'ALTER ROLE app RESET synchronous_commit');

# Who is a superuser is stopped too.
round('superuser', call => q{freeze_database(strategy => 'gate')}, seconds => $short, all => 1, full => 3, clients => min($clients, 10), user => $node->{_user} || scalar getpwuid($>));

# What is in flight may finish.
round('drain', call => q{freeze_database(strategy => 'gate', in_flight => 'drain', drain_timeout => '10s')}, seconds => $short, all => 1, full => 2, pause => 20);

# One role, beside another.
round('role', call => q{freeze_role('app', strategy => 'gate')}, seconds => $short, full => 2, schemas => [ 'app', 'beside' ], clients => max(2, int($clients / 2)));

# Readers too.
round('all', call => q{freeze_database(mode => 'all', strategy => 'gate')}, seconds => $short, all => 1, full => 2, scripts => [ 'app.one', 'app.several', 'read' ], protocol => 'extended');

# The cluster.
round('cluster', call => q{freeze_cluster(strategy => 'gate')}, seconds => $short, all => 1, full => 2);

# Refused instead of made to wait: an acknowledged commit is there, and another isn't.
if (!$ENV{PF_ROUNDS} || 'reject' =~ /$ENV{PF_ROUNDS}/)
{
	my $from = ask($dba, 'SELECT pg_current_wal_insert_lsn()');
	my $load = start_psqls(seconds => $short, user => 'app', clients => min($clients, 20));
	my (@holds, @called, $grown, $bad);
	my $end = time + $short;

	my $patience = time + $patience_most;
	usleep(1000) until ask($dba, 'SELECT count(DISTINCT id) >= 2 FROM app.acked') eq 't' || time > $patience;
	while (time < $end)
	{
		my ($id, $ms) = ask($dba, q{SELECT freeze_database(strategy => 'gate', action => 'reject', drain_timeout => '10s')});
		my $first = ask($dba, 'SELECT count(*) FROM app.acked');
		my $refused = sprintf 'SELECT refused FROM freeze_status WHERE id = %s', $id;
		my $patience = time + $patience_most;
		usleep(1000) until ask($dba, $refused) > 0 || time > $patience;
		my $second = ask($dba, 'SELECT count(*) FROM app.acked');
		diag("reject, freeze $id: $first, then $second") if $second ne $first && !$grown++;
		my %hold;
		@hold{@verdict} = split /\|/, ask($dba, "SELECT $verdict FROM thaw($id)"), -1;
		push @holds, \%hold;
		push @called, $ms;
		diag("reject, freeze $id: held $hold{held}, $hold{lost_reason}") if "$hold{held}|$hold{lost_reason}" ne 't|' && !$bad++;
		usleep(1000) until ask($dba, "SELECT count(*) > $second + 100 FROM app.acked") eq 't' || time > $end;
	}
	my ($acked, $errors) = finish_psqls($load);
	my ($others, @found) = commits_in_holds($node, 1, $from, @holds);
	my $refused = delete $errors->{'25006'};
	my $in_between = delete $errors->{'25P02'};

	is(join(', ', map { "$_ $errors->{$_}" } sort keys %$errors), '', 'reject: no client saw another error than 25006');
	cmp_ok($refused || 0, '>', 0, 'reject: and that one was seen');
	is(sql($node, 'SELECT count(*) FROM app.acked'), $acked, 'reject: what was acknowledged is there, and nothing else');
	is($grown || 0, 0, 'reject: no two looks in a hold differ');
	is($bad || 0, 0, 'reject: each freeze held');
	is(scalar @found, 0, 'reject: the WAL has no commit between frozen and thaw') || diag(@found[ 0 .. min(4, $#found) ]);
	cmp_ok($others, '>', $acked / 4, 'reject: and pg_waldump shows the others');
	diag(sprintf 'reject: %d rows, %d freezes, call %s, %d statements refused', $acked, scalar @holds, figures(@called), $refused || 0);
}

$dba->{in} .= "\\q\n";
$dba->{run}->finish;
unlike(slurp_file($node->logfile), qr/deadlock detected|PANIC|TRAP|XX000/, 'nothing strange is in the log');
done_testing();
