# kill -9 of the worker, the caller, the scheduler and the postmaster at random
# moments of freezing and thawing.  Afterwards the role is either frozen, with a
# live freeze that can be thawed, or has exactly its privileges.
#
# PF_KILLS: how many kills (20), PF_SEED: which ones (printed), PF_TABLES: how
# many tables (1000).  Half of the kills are without shared_preload_libraries.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

plan skip_all => 'finds processes in /proc' unless -r '/proc/self/cmdline';

my $kills = $ENV{PF_KILLS} || 20;
my $seed = $ENV{PF_SEED} || int(rand(1 << 30));
my $tables = $ENV{PF_TABLES} || 1000;
my $patience = 0.05;    # s that a victim is waited for at its moment
srand($seed);
diag("PF_SEED=$seed PF_KILLS=$kills PF_TABLES=$tables");

# Who is frozen, in which mode, and a statement of the role that a drain waits for.
my %kinds = (
	agent => { role => 'agent', mode => 'write', write => q{INSERT INTO other.t2 (id) VALUES (0);} },
	all => { role => 'app', mode => 'all', write => q{INSERT INTO app.writes (who) VALUES (0);} },
	app => { role => 'app', mode => 'write', write => q{INSERT INTO app.writes (who) VALUES (0);} });
my $before;    # the privileges while nothing is frozen; those while a kind is, are with the kind

sub pick { return $_[ int rand @_ ]; }

sub freeze_call
{
	my ($kind, $deadline) = @_;
	return "SELECT freeze_role('$kinds{$kind}{role}', mode => '$kinds{$kind}{mode}', strategy => 'revoke', drain_timeout => '300ms'"
	  . ($deadline ? ", thaw_after => '$deadline')" : ')');
}

# More than tables: what else mode write takes.
sub make_more
{
	my ($node) = @_;

	sql($node, q{
CREATE ROLE writers;
GRANT INSERT ON other.t1, other.t3 TO writers;
GRANT writers TO app WITH ADMIN OPTION;
GRANT UPDATE (note) ON other.t2 TO agent, app;
SELECT lo_create(l) FROM generate_series(90001, 90010) l;
SELECT format('ALTER LARGE OBJECT %s OWNER TO app', l) FROM generate_series(90001, 90005) l \gexec
SELECT format('GRANT UPDATE ON LARGE OBJECT %s TO app, agent', l) FROM generate_series(90006, 90010) l \gexec
GRANT CREATE ON DATABASE postgres TO app;
});
	return;
}

# Milliseconds that a call takes, psql included.
sub measure
{
	my ($node, $sql) = @_;
	my $call = start_sql($node, $sql, user => 'caller');
	my ($state, $out, $err) = finish_sql($call);
	die "$sql: $err" if $state ne '';
	return (1000 * (time - $call->{started}), $out);
}

# Kills a process if it is there within the patience; that of the postmaster
# never misses.
sub kill_one
{
	my ($node, $victim) = @_;
	my %pattern = (
		worker => qr/pg_freeze worker/,
		caller => qr/: caller /,
		scheduler => qr/pg_freeze scheduler/);
	my $end = time + $patience;

	if ($victim eq 'postmaster')
	{
		$node->kill9;
		return 1;
	}
	do
	{
		my ($pid) = backends($node, $pattern{$victim});
		return 1 if defined $pid && kill_backend($pid);
	} while (time < $end);
	return 0;
}

# What is wrong; undef if nothing is.
sub problem
{
	my ($node, $journal, $kind, $answered, $must_thaw) = @_;
	my @live = split /,/, $journal->{live};
	my $role = $kinds{$kind}{role};

	return "unfinished: $journal->{unfinished}" if $journal->{unfinished} ne '';
	return "$journal->{orphans} changes of freezes that have ended" if $journal->{orphans} ne '0';
	return 'more than one freeze is live: ' . join(', ', @live) if @live > 1;
	return 'the freeze was reported and is not there' if $answered eq 'frozen' && !@live;
	return 'the thaw was reported and the freeze is live' if $answered eq 'thawed' && @live;
	return 'the deadline has passed and the freeze is live' if $must_thaw && @live;
	return undef unless @live;

	return "not in force: $journal->{force}" if $journal->{force} ne 'yes';
	my ($state, undef, $err) = try_sql($node, 'INSERT INTO other.t1 (id) VALUES (1)', user => $role);
	return "a live freeze, and $role may write" if $state ne '42501' && !($state eq '08000' && $kind eq 'all');
	return undef;
}

# Where the kill hit, as far as can be told afterwards.
sub hit
{
	my ($journal, $last_id, $what) = @_;
	my $reason = $journal->{end_reason} // '';

	return 'before it began' if $journal->{id} eq '' || $journal->{id} == $last_id;
	return $reason =~ /the worker that made it died/ ? ($journal->{engaged} eq 't' ? 'draining' : 'engaging') : 'undone'
	  if $journal->{state} eq 'aborted';
	return 'thawing' if $reason =~ /thawed by a later try/;
	return $journal->{state};
}

# Whether the database has a scheduler, shortly after a crash.
sub scheduler_comes
{
	my ($node) = @_;
	my $end = time + 3;

	while (time < $end)
	{
		return 1 if backends($node, qr/pg_freeze scheduler/);
		usleep(20_000);
	}
	return 0;
}

sub thaw_and_compare
{
	my ($node, $id, $what) = @_;
	my ($state, $held, $err) = try_sql($node, "SELECT held IS DISTINCT FROM false, skipped FROM thaw($id)");

	is("$state $held", ' t|0', "$what: held as far as anybody knows") || diag($err);
	my $same = same_privileges(privileges($node), $before, "$what: then exactly its privileges");
	return $same && journal($node)->{orphans} eq '0';
}

sub crash
{
	my ($preload, $n) = @_;
	my $name = $preload ? 'preload' : 'plain';
	my $node = new_server($name, conf => "restart_after_crash = on\nlog_statement = none\n"
		  . ($preload ? "shared_preload_libraries = 'pg_freeze'\n" : ''));
	my (%took, %outcomes, %victims);
	my ($killed, $missed) = (0, 0);

	make_application($node, tables => $tables);
	make_more($node);
	$before = privileges($node);
	foreach my $kind (sort keys %kinds)
	{
		# the first one pays for cold caches
		foreach (1 .. 2)
		{
			($took{$kind}, my $id) = measure($node, freeze_call($kind));
			$kinds{$kind}{frozen} = privileges($node);
			($took{"thaw $kind"}) = measure($node, "SELECT thaw($id);");
		}
		isnt($kinds{$kind}{frozen}, $before, "$name: freezing $kind takes something");
		same_privileges(privileges($node), $before, "$name: and thawing gives it back");
	}
	note(join(', ', map { sprintf '%s: %d ms', $_, $took{$_} } sort keys %took));

	while ($killed < $n)
	{
		my $kind = pick(sort keys %kinds);
		my $action = pick(qw(freeze freeze freeze freeze thaw thaw thaw deadline));
		# an open transaction that has written keeps the freeze in its drain
		my $blocked = $action eq 'freeze' && pick(0, 1);
		my $victim = $action eq 'deadline' ? pick(qw(scheduler scheduler postmaster)) : pick(qw(worker worker caller scheduler postmaster));
		my $last_id = journal($node)->{id} || 0;
		my $call = freeze_call($kind) . ';';
		my $most = $took{$kind};
		my ($writer, $running);

		if ($action eq 'thaw')
		{
			my $id = sql($node, $call);
			$call = "SELECT id FROM thaw($id);";
			$most = $took{"thaw $kind"};
		}
		if ($blocked)
		{
			$writer = open_session($node, user => $kinds{$kind}{role});
			$writer->query_safe("BEGIN; $kinds{$kind}{write}");
			$most += 300 + $took{"thaw $kind"};
		}
		if ($action eq 'deadline')
		{
			sql($node, freeze_call($kind, '1ms'));
			$most = $took{"thaw $kind"};
		}
		else
		{
			$running = start_sql($node, $call, user => 'caller');
		}

		# Not to wait for anything: the pause is what makes the moment a random one.
		my $pause = rand($most);
		usleep(1000 * $pause);
		my $done = kill_one($node, $victim);
		my $out = $running ? (finish_sql($running))[1] : '';
		$writer->{run}->kill_kill if $writer;

		if ($done && $victim eq 'postmaster')
		{
			start_again($node);
		}
		elsif ($done)
		{
			server_back($node) or die 'no recovery';
		}

		# Who finishes what was left: the scheduler by itself (after a start
		# only with preload), or the next call.
		my $alone = $victim eq 'postmaster' ? $preload : pick(0, 1);
		# A freeze that has changed nothing yet may have no scheduler.
		$alone = 0 if $alone && !$preload && journal($node)->{unfinished} =~ /engaging/ && !scheduler_comes($node);
		next_call($node) unless $alone;
		my $journal = recovered($node, $action eq 'deadline');

		if (!$done)
		{
			# The call was over.  Not a kill; another one instead.
			BAIL_OUT("$missed kills missed their victims, $killed hit") if ++$missed > 20 + 3 * $n;
			sql($node, 'SELECT count(*) FROM thaw_all()');
			next;
		}
		$killed++;

		my $answered = $out =~ /^\d+$/ ? ($action eq 'thaw' ? 'thawed' : 'frozen') : 'nothing';
		my $what = sprintf '%s %d: %s of %s%s, %s killed after %d ms of %d', $name, $killed,
		  $action, $kind, $blocked ? ' (blocked)' : '', $victim, $pause, $most;
		my $problem = problem($node, $journal, $kind, $answered, $action eq 'deadline');
		my $ok = is($problem, undef, "$what: " . ($journal->{live} ne '' ? 'frozen' : 'not frozen'));
		my $id = $journal->{live};

		$ok &&= same_privileges(privileges($node), $id ne '' ? $kinds{$kind}{frozen} : $before,
			"$what: exactly " . ($id ne '' ? 'what a freeze leaves' : 'its privileges'));
		$ok &&= thaw_and_compare($node, $id, $what) if $id ne '';
		$outcomes{"$action, " . hit($journal, $action eq 'freeze' ? $last_id : -1, $what)}++;
		$victims{$victim}++;
		if (!$ok)
		{
			# whatever comes now would be a consequence
			diag("PF_SEED=$seed PF_KILLS=$kills PF_TABLES=$tables: $what");
			return;
		}
	}
	is(sql($node, q{SELECT count(*) FROM freeze_history WHERE state = 'thawed' AND held = false}), '0',
		"$name: no verdict says that a freeze did not hold");
	$node->stop;
	diag("seed $seed, $name: $n kills (" . join(', ', map { "$victims{$_} $_" } sort keys %victims)
		  . "), $missed more missed; hit: " . join('; ', map { "$_: $outcomes{$_}" } sort keys %outcomes));
	return;
}

crash(0, $kills - int($kills / 2));
crash(1, int($kills / 2)) if $kills > 1;
done_testing();
