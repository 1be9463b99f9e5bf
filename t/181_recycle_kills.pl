# Strategies disconnect and read_only: kill -9 of the worker, the caller, the
# scheduler, a session, the checkpointer and the postmaster, and immediate
# shutdowns, at random moments of freezing and thawing.  Afterwards either a
# freeze is live, stops its target and can be thawed, or the catalogs are what
# they were and the target goes on.  The places that have a name are tried one
# by one in t/011_injection.pl.
#
# PF_KILLS (14): how many, PF_SEED: which ones (printed).  Half of them are
# without shared_preload_libraries.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

plan skip_all => 'finds processes in /proc' unless -r '/proc/self/cmdline';

my $kills = $ENV{PF_KILLS} || 14;
my $seed = $ENV{PF_SEED} || int(rand(1 << 30));
srand($seed);
diag("PF_SEED=$seed PF_KILLS=$kills");

my %pattern = (
	worker => qr/pg_freeze worker/,
	caller => qr/: caller /,
	scheduler => qr/pg_freeze scheduler/,
	session => qr/: app /,
	checkpointer => qr/: checkpointer/);

# What freezes, and what the statement of somebody who is meant gets then; psql
# says no SQLSTATE of a login.
my %kinds = (
	'disconnect role' => { call => q{freeze_role('app', mode => 'all', strategy => 'disconnect'}, stopped => '08000' },
	'disconnect database' => { call => q{freeze_database('shop', mode => 'all', strategy => 'disconnect'}, stopped => '08000', db => 'shop' },
	'disconnect cluster' => { call => q{freeze_cluster(mode => 'all', strategy => 'disconnect'}, stopped => '08000' },
	'read_only role' => { call => q{freeze_role('app', strategy => 'read_only'}, stopped => '25006' },
	'read_only database' => { call => q{freeze_database('shop', strategy => 'read_only'}, stopped => '25006', db => 'shop' },
	'read_only cluster' => { call => q{freeze_cluster(strategy => 'read_only'}, stopped => '25006' });

sub pick { return $_[ int rand @_ ]; }

sub goes { return writing($_[0], db => $kinds{ $_[1] }{db} || 'postgres'); }

# What is wrong; undef if nothing is.
sub problem
{
	my ($node, $before, $kind, $journal, %is) = @_;
	my $live = $journal->{live};

	return "unfinished: $journal->{unfinished}" if $journal->{unfinished} ne '';
	return "$journal->{orphans} changes of freezes that have ended" if $journal->{orphans} ne '0';
	return "more than one freeze is live: $live" if $live =~ /,/;
	return 'the freeze was reported and is not there' if $is{answered} eq 'frozen' && $live eq '';
	return 'the thaw was reported and the freeze is live' if $is{answered} eq 'thawed' && $live ne '';
	return 'the deadline has passed and the freeze is live' if $is{deadline} && $live ne '';
	if ($live ne '')
	{
		return "not in force: $journal->{force}" if $journal->{force} ne 'yes';
		return 'the catalogs are not what a freeze leaves' unless same_privileges(privileges($node), $kinds{$kind}{frozen}, 'what a freeze leaves');
		my $goes = goes($node, $kind);
		return "a live freeze, and a statement: $goes" if $goes ne $kinds{$kind}{stopped};
		my ($state, $row, $err) = try_sql($node, "SELECT held IS DISTINCT FROM false, skipped FROM thaw($live)");
		return "can't be thawed: $err" if $state ne '';
		return "the verdict of the thaw: $row" if $row ne 't|0';
	}
	return 'the catalogs are not what they were' unless same_privileges(privileges($node), $before, 'then what was there before');
	foreach my $db ('postgres', 'shop')
	{
		my $goes = writing($node, db => $db);
		return "nothing is frozen, and a statement in $db: $goes" if $goes ne 'done';
	}
	return undef;
}

sub crash
{
	my ($preload, $n) = @_;
	my $name = $preload ? 'preload' : 'plain';
	my $node = new_server($name, conf => "restart_after_crash = on\nlog_statement = none\nautovacuum = off\n"
		  . ($preload ? "shared_preload_libraries = 'pg_freeze'\n" : ''));
	my ($killed, $missed, %outcomes) = (0, 0);

	make_application($node, tables => 2);
	sql($node, q{
CREATE DATABASE shop CONNECTION LIMIT 50;
ALTER ROLE app SET work_mem = '5MB';
ALTER ROLE app SET default_transaction_read_only = off;
ALTER ROLE app SET statement_timeout = '1h';
ALTER ROLE reader CONNECTION LIMIT 7;
ALTER ROLE reader IN DATABASE shop SET default_transaction_read_only = off;
ALTER DATABASE shop SET work_mem = '6MB';
});
	sql($node, q{
CREATE SCHEMA app AUTHORIZATION app;
SET ROLE app;
CREATE TABLE app.writes (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, who int);
}, db => 'shop');
	my $before = privileges($node);
	foreach my $kind (sort keys %kinds)
	{
		my $start = time;
		my $id = sql($node, "SELECT $kinds{$kind}{call})");
		$kinds{$kind}{most} = 1000 * (time - $start);
		# without the notes of who holds it: they have the freeze's number
		$kinds{$kind}{frozen} = privileges($node);
		is(goes($node, $kind), $kinds{$kind}{stopped}, "$name: $kind stops the target");
		$start = time;
		sql($node, "SELECT thaw($id)");
		$kinds{$kind}{most_thaw} = 1000 * (time - $start);
		same_privileges(privileges($node), $before, "$name: $kind: and nothing is left of it");
	}

	while ($killed < $n)
	{
		my $kind = pick(sort keys %kinds);
		my $action = pick(qw(freeze freeze freeze freeze thaw thaw thaw deadline));
		my $victim = $action eq 'deadline' ? pick(qw(scheduler scheduler postmaster)) : pick(qw(worker worker worker caller scheduler session checkpointer postmaster shutdown));
		# somebody in a transaction keeps the freeze in its drain; who is idle goes first
		my $blocked = $action eq 'freeze' && pick(0, 1);
		my $call = "SELECT $kinds{$kind}{call}, drain_timeout => '300ms'";
		my $most = $kinds{$kind}{ $action eq 'freeze' ? 'most' : 'most_thaw' } + ($blocked ? 300 : 0);
		my ($running, @sessions);

		my $id = sql($node, $call . ($action eq 'deadline' ? q{, thaw_after => '1ms')} : ')')) if $action ne 'freeze';
		if ($action eq 'freeze')
		{
			@sessions = map { open_session($node, user => 'app', db => $kinds{$kind}{db}) } 1 .. 3;
			$sessions[0]->query_safe('BEGIN; INSERT INTO app.writes (who) VALUES (3);') if $blocked;
		}
		$running = start_sql($node, $action eq 'freeze' ? "$call);" : "SELECT id FROM thaw($id);", user => 'caller') if $action ne 'deadline';

		# Not to wait for anything: the pause is what makes the moment a random one.
		my $pause = rand($most);
		usleep(1000 * $pause);
		my $hit = 1;
		if ($victim eq 'postmaster')
		{
			$node->kill9;
		}
		elsif ($victim eq 'shutdown')
		{
			$node->stop('immediate');
		}
		else
		{
			my $end = time + 0.05;
			my $pid;
			do { ($pid) = backends($node, $pattern{$victim}); } while (!defined $pid && time < $end);
			$hit = defined $pid && kill_backend($pid);
		}
		my $out = $running ? (finish_sql($running))[1] : '';
		$_->{run}->kill_kill foreach @sessions;
		if (!$hit)
		{
			BAIL_OUT("$missed kills missed their victims, $killed hit") if ++$missed > 20 + 3 * $n;
			next_call($node);
			recovered($node);
			sql($node, 'SELECT count(*) FROM thaw_all()');
			next;
		}
		$killed++;
		my $restarted = $victim eq 'postmaster' || $victim eq 'shutdown';
		$restarted ? start_again($node) : (server_back($node) or die 'no recovery');

		# Who finishes what was left: with preload somebody does by himself, else
		# the next call is certain to.
		next_call($node) unless $preload && $restarted;
		my $journal = recovered($node, $action eq 'deadline');
		my $answered = $out =~ /^\d+$/ ? ($action eq 'thaw' ? 'thawed' : 'frozen') : 'nothing';
		my $what = sprintf '%s %d: %s, %s%s, %s after %d ms of %d', $name, $killed, $action, $kind, $blocked ? ' (blocked)' : '', $victim, $pause, $most;
		my $problem = problem($node, $before, $kind, $journal, answered => $answered, deadline => $action eq 'deadline');
		if (!is($problem, undef, "$what: " . ($journal->{live} ne '' ? 'frozen' : 'not frozen')))
		{
			diag("PF_SEED=$seed PF_KILLS=$kills: $what");
			diag(sql($node, q{SELECT id, state, end_reason, last_error FROM freeze_journal ORDER BY id DESC LIMIT 3}));
			return;
		}
		$outcomes{ "$action, $victim: " . ($journal->{live} ne '' ? 'frozen' : $journal->{state} || 'not begun') }++;
	}
	is(sql($node, q{SELECT count(*) FROM freeze_history WHERE held = false}), '0', "$name: no verdict says that a freeze did not hold");
	unlike(slurp_file($node->logfile), qr/PANIC|TRAP|XX000|deadlock detected/, "$name: nothing strange is in the log");
	$node->stop;
	diag("seed $seed, $name: $n kills, $missed more missed; " . join('; ', map { "$_ $outcomes{$_}" } sort keys %outcomes));
	return;
}

crash(0, $kills - int($kills / 2));
crash(1, int($kills / 2)) if $kills > 1;
done_testing();
