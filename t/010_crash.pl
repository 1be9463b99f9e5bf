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
use Time::HiRes qw(time);

plan skip_all => 'finds processes in /proc' unless -r '/proc/self/cmdline';

my $kills = $ENV{PF_KILLS} || 20;
my $seed = $ENV{PF_SEED} || int(rand(1 << 30));
my $tables = $ENV{PF_TABLES} || 1000;
srand($seed);
diag("PF_SEED=$seed PF_KILLS=$kills PF_TABLES=$tables");

# What is in force, and what is still as it was.
my $before;
my %freeze_call = (
	app => q{SELECT freeze_role('app', strategy => 'revoke', drain_timeout => '300ms');},
	agent => q{SELECT freeze_role('agent', strategy => 'revoke', drain_timeout => '300ms');},
	all => q{SELECT freeze_role('app', mode => 'all', strategy => 'revoke', drain_timeout => '300ms');});
my %role_of = (app => 'app', agent => 'agent', all => 'app');

sub pick { return $_[ int rand @_ ]; }

# Milliseconds that a call takes, psql included.
sub measure
{
	my ($node, $sql) = @_;
	my $call = start_sql($node, $sql, user => 'caller');
	my ($state, $out, $err) = finish_sql($call);
	die "$sql: $err" if $state ne '';
	return (1000 * (time - $call->{started}), $out);
}

# Kills one of the processes; what is aimed at may not be there yet, or any more.
sub kill_one
{
	my ($node, $victim) = @_;
	my %pattern = (
		worker => qr/pg_freeze worker/,
		caller => qr/: caller /,
		scheduler => qr/pg_freeze scheduler/);

	if ($pattern{$victim})
	{
		my ($pid) = backends($node, $pattern{$victim});
		return $victim if defined $pid && kill 'KILL', $pid;
	}
	$node->kill9;
	return 'postmaster';
}

# After a crash: what must be true, whatever was hit when.
sub look_after
{
	my ($node, $what, $kind, $answered, $may) = @_;
	my @live = live($node);
	my $now = privileges($node);
	my $problem;

	$problem = 'unfinished: ' . unfinished($node) if unfinished($node) ne '';
	$problem ||= 'more than one freeze is live: ' . join(', ', @live) if @live > 1;
	$problem ||= 'the freeze was reported and is not there' if $answered eq 'frozen' && !@live;
	$problem ||= 'the thaw was reported and the freeze is live' if $answered eq 'thawed' && @live;
	if (!$problem && @live)
	{
		my $role = $role_of{$kind};
		my ($state, undef, $err) = try_sql($node, 'INSERT INTO other.t1 (id) VALUES (1)', user => $role);
		$problem = "a live freeze, and $role may write" if $state ne '42501' && !($state eq '08000' && $kind eq 'all');
		$problem ||= 'not in force: ' . sql($node, 'SELECT came_back FROM freeze_status')
		  if sql($node, 'SELECT in_force FROM freeze_status') ne 't';
	}
	elsif (!$problem && $now ne $before)
	{
		same_privileges($now, $before, "$what: exactly its privileges");
		return 'broken';
	}
	is($problem, undef, $what);
	return @live ? 'frozen' : 'not frozen';
}

sub thaw_and_compare
{
	my ($node, $what) = @_;
	my ($id) = live($node);
	my ($state, $held, $err) = try_sql($node, "SELECT held IS DISTINCT FROM false, skipped FROM thaw($id)");

	is("$state $held", ' t|0', "$what: held as far as anybody knows") || diag($err);
	same_privileges(privileges($node), $before, "$what: then exactly its privileges");
	return;
}

sub crash
{
	my ($preload, $n) = @_;
	my $name = $preload ? 'preload' : 'plain';
	my $node = new_server($name, conf => "restart_after_crash = on\nlog_statement = none\n"
		  . ($preload ? "shared_preload_libraries = 'pg_freeze'\n" : ''));
	my (%took, %count, %hit);

	make_application($node, tables => $tables);
	$before = privileges($node);
	foreach my $kind (sort keys %freeze_call)
	{
		($took{$kind}, my $id) = measure($node, $freeze_call{$kind});
		($took{"thaw $kind"}) = measure($node, "SELECT thaw($id);");
	}
	note(join(', ', map { sprintf '%s: %d ms', $_, $took{$_} } sort keys %took));

	foreach my $i (1 .. $n)
	{
		my $kind = pick(sort keys %freeze_call);
		my $thawing = pick(0, 1);
		# an open transaction that has written keeps the freeze in its drain
		my $blocked = !$thawing && $kind ne 'agent' && pick(0, 1);
		my $victim = pick(qw(worker worker caller scheduler postmaster));
		my $call = $freeze_call{$kind};
		my $most = $took{$kind};
		my $writer;

		if ($thawing)
		{
			my $id = sql($node, $call);
			$call = "SELECT id FROM thaw($id);";
			$most = $took{"thaw $kind"};
		}
		if ($blocked)
		{
			$writer = open_session($node, user => 'app');
			$writer->query_safe('BEGIN; INSERT INTO app.writes (who) VALUES (0);');
			$most += 300 + $took{"thaw $kind"};
		}

		# Not to wait for anything: the pause is what makes the moment a random one.
		my $pause = 15 + rand(1.1 * $most);
		my $running = start_sql($node, $call, user => 'caller');
		select(undef, undef, undef, $pause / 1000);
		$victim = kill_one($node, $victim);
		my (undef, $out) = finish_sql($running);
		if ($writer)
		{
			$writer->{run}->kill_kill;
		}

		if ($victim eq 'postmaster')
		{
			start_again($node);
		}
		else
		{
			$node->poll_query_until('postgres', 'SELECT true') or die 'no recovery';
		}

		# Who finishes what was left: the scheduler by itself (after a start
		# only with preload), or the next call.
		my $alone = $victim eq 'postmaster' ? $preload : $i % 5 == 0;
		if ($alone)
		{
			wait_until($node, q{SELECT NOT EXISTS (SELECT FROM freeze_journal WHERE state IN ('engaging', 'draining', 'thawing'))});
		}
		else
		{
			my $id = sql($node, q{SELECT freeze_schema('spare', strategy => 'revoke')});
			sql($node, "SELECT thaw($id)");
		}

		my $answered = $out =~ /^\d+$/ ? ($thawing ? 'thawed' : 'frozen') : 'nothing';
		my $what = sprintf '%s %d: %s of %s%s, %s killed after %d ms of %d', $name, $i,
		  $thawing ? 'thaw' : 'freeze', $kind, $blocked ? ' (blocked)' : '', $victim, $pause, $most;
		my $outcome = look_after($node, $what, $kind, $answered);
		$count{$outcome}++;
		$hit{$victim}++;
		BAIL_OUT("seed $seed: $what") if $outcome eq 'broken';
		thaw_and_compare($node, $what) if $outcome eq 'frozen';
	}
	is(sql($node, q{SELECT count(*) FROM freeze_history WHERE state = 'thawed' AND held = false}), '0',
		"$name: no verdict says that a freeze did not hold");
	$node->stop;
	diag("seed $seed, $name: $n kills (" . join(', ', map { "$hit{$_} $_" } sort keys %hit) . '): '
		  . join(', ', map { "$count{$_} $_" } sort keys %count));
	return;
}

crash(0, $kills - int($kills / 2));
crash(1, int($kills / 2)) if $kills > 1;
done_testing();
