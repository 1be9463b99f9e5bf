# Strategy lock: kill -9 and terminate of the holder, the worker, the caller, the
# scheduler and the postmaster at random moments of freezing and thawing.
# Afterwards either a freeze is live and its locks are held, or nothing is locked
# and the application writes.
#
# PF_KILLS (12): how many, PF_SEED: which ones (printed).  Half of them are
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

my $kills = $ENV{PF_KILLS} || 12;
my $seed = $ENV{PF_SEED} || int(rand(1 << 30));
srand($seed);
diag("PF_SEED=$seed PF_KILLS=$kills");

my %pattern = (
	holder => qr/pg_freeze holder/,
	worker => qr/pg_freeze worker/,
	caller => qr/: caller /,
	scheduler => qr/pg_freeze scheduler/);
my $live = q{SELECT id, state, coalesce(in_force, false), holder IS NOT NULL FROM freeze_status};

sub pick { return $_[ int rand @_ ]; }

# Polls until nobody works on anything: no row is unfinished, and a live freeze
# is in force.
sub settled
{
	my ($node) = @_;
	my $end = time + 60;
	my @rows;

	do
	{
		usleep(50_000) if @rows;
		@rows = split /\n/, sql($node, $live);
	} while (grep({ !/^\d+\|(frozen|lost)\|t\|t$/ } @rows) && time < $end);
	return @rows;
}

# What is wrong; undef if nothing is.
sub problem
{
	my ($node, $answered, $gap, @rows) = @_;

	return 'more than one freeze is live: ' . join(', ', @rows) if @rows > 1;
	return "the freeze was reported and is not there" if $answered eq 'frozen' && !@rows;
	return "the thaw was reported and the freeze is live" if $answered eq 'thawed' && @rows;
	if (@rows)
	{
		return "not in force: $rows[0]" unless $rows[0] =~ /^\d+\|(frozen|lost)\|t\|t$/;
		return "frozen as if it had held: $rows[0]" if $gap && $rows[0] !~ /lost/;
		my $goes = writing($node);
		return "a live freeze, and writing: $goes" unless $goes eq 'waits';
		my $held = sql($node, 'SELECT held FROM thaw_all()');
		return "a gap, and held is $held" if $gap && $held ne 'f';
	}
	my $goes = writing($node);
	return "nothing is frozen, and writing: $goes" unless $goes eq 'done';
	my $locks = strong_locks($node);
	return "nothing is frozen, and pg_freeze has $locks locks" unless $locks eq '0';
	return undef;
}

sub crash
{
	my ($preload, $n) = @_;
	my $name = $preload ? 'preload' : 'plain';
	my $node = new_server($name, conf => "restart_after_crash = on\nlog_statement = none\n"
		  . ($preload ? "shared_preload_libraries = 'pg_freeze'\n" : ''));
	my ($killed, $missed, %outcomes) = (0, 0);
	make_application($node, tables => 300);

	my $freeze = q{SELECT freeze_role('app', strategy => 'lock', drain_timeout => '300ms')};
	my ($most, $most_thaw);
	foreach (1 .. 2)
	{
		my $start = time;
		my $id = sql($node, $freeze);
		$most = 1000 * (time - $start);
		$start = time;
		sql($node, "SELECT thaw($id)");
		$most_thaw = 1000 * (time - $start);
	}

	while ($killed < $n)
	{
		my $action = pick(qw(freeze freeze freeze thaw thaw hold));
		my $blocked = $action eq 'freeze' && pick(0, 1);
		my $victim = $action eq 'hold' ? pick(qw(holder scheduler postmaster)) : pick(qw(holder holder worker caller scheduler postmaster));
		my $signal = $victim eq 'postmaster' ? 'KILL' : pick(qw(KILL TERM));
		my $writer;
		my ($running, $id);

		$id = sql($node, $freeze) if $action ne 'freeze';
		if ($blocked)
		{
			$writer = open_session($node, user => 'app');
			$writer->query_safe('BEGIN; INSERT INTO app.t2 (id) VALUES (0);');
		}
		$running = start_sql($node, $action eq 'freeze' ? "$freeze;" : "SELECT id FROM thaw($id);", user => 'caller') if $action ne 'hold';

		# Not to wait for anything: the pause is what makes the moment a random one.
		my $pause = $action eq 'hold' ? 0 : rand(($action eq 'thaw' ? $most_thaw : $most) + ($blocked ? 300 : 0));
		usleep(1000 * $pause);
		my $pid;
		if ($victim eq 'postmaster')
		{
			$node->kill9;
			$pid = 1;
		}
		else
		{
			my $end = time + 0.05;
			do { ($pid) = backends($node, $pattern{$victim}); } while (!defined $pid && time < $end);
			if (defined $pid)
			{
				# a terminated process may take its time: until a freeze is made, say
				$signal eq 'KILL' ? kill_backend($pid) : kill('TERM', $pid);
			}
		}
		my $out = $running ? (finish_sql($running))[1] : '';
		$writer->{run}->kill_kill if $writer;
		if (!defined $pid)
		{
			BAIL_OUT("$missed kills missed their victims, $killed hit") if ++$missed > 20 + 3 * $n;
			sql($node, 'SELECT count(*) FROM thaw_all()');
			next;
		}
		$killed++;
		$victim eq 'postmaster' ? start_again($node) : (server_back($node) or die 'no recovery');

		# Somebody comes by himself after a start with preload; else the next
		# call is certain to see it.
		next_call($node) unless $preload && $victim eq 'postmaster';
		my @rows = settled($node);
		my $answered = $out =~ /^\d+$/ ? ($action eq 'thaw' ? 'thawed' : 'frozen') : $action eq 'hold' ? 'frozen' : 'nothing';
		# What ended the holder ended the hold.  One that was terminated may have
		# been trying yet.
		my $gap = $action eq 'freeze' ? $answered eq 'frozen' && $signal eq 'KILL' : $signal eq 'KILL' || $victim eq 'holder';
		my $what = sprintf '%s %d: %s%s, %s %s after %d ms', $name, $killed, $action, $blocked ? ' (blocked)' : '', $signal, $victim, $pause;
		my $problem = problem($node, $answered, $gap, @rows);
		if (!is($problem, undef, "$what: " . (@rows ? 'frozen' : 'not frozen')))
		{
			diag("PF_SEED=$seed PF_KILLS=$kills: $what");
			diag(sql($node, q{SELECT id, state, end_reason, lost_at, retaken_at, lost_reason FROM freeze_journal ORDER BY id DESC LIMIT 2}));
			return;
		}
		$outcomes{ "$action, $victim: " . (@rows ? $rows[0] =~ s/^\d+\|(\w+).*/$1/r : 'not frozen') }++;
	}
	unlike(slurp_file($node->logfile), qr/PANIC|TRAP|XX000|deadlock detected/, "$name: nothing strange is in the log");
	$node->stop;
	diag("seed $seed, $name: $n kills, $missed more missed; " . join('; ', map { "$_ $outcomes{$_}" } sort keys %outcomes));
	return;
}

crash(0, $kills - int($kills / 2));
crash(1, int($kills / 2)) if $kills > 1;
done_testing();
