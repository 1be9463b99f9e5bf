# Strategy gate: kill -9 of the postmaster, a client, the worker, the caller and
# the scheduler at random moments of freezing, of the hold and of thawing, while
# an application writes a little.  Afterwards the gate is closed exactly if the
# journal has a live freeze, in shared memory and in the state file; what was
# frozen stays so through the crash; everything opens in the end.
#
# PF_KILLS (15): how many, PF_SEED: which ones (printed).

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

plan skip_all => 'finds processes in /proc' unless -r '/proc/self/cmdline';

my $kills = $ENV{PF_KILLS} || 15;
my $seed = $ENV{PF_SEED} || int(rand(1 << 30));
my $writers = 3;
srand($seed);
diag("PF_SEED=$seed PF_KILLS=$kills");

my $node = new_server('main', conf => q{
shared_preload_libraries = 'pg_freeze'
restart_after_crash = on
log_statement = none
wal_keep_size = '4GB'
autovacuum = off
});
make_application($node, tables => 5);
my $from = sql($node, 'SELECT pg_current_wal_insert_lsn()');
my $file = $node->data_dir . '/pg_freeze.gates';
my %pattern = (
	client => qr/: app /,
	worker => qr/pg_freeze worker/,
	caller => qr/: caller /,
	scheduler => qr/pg_freeze scheduler/,
	launcher => qr/pg_freeze launcher/);
my %calls = (
	role => q{freeze_role('app', strategy => 'gate'},
	database => q{freeze_database(strategy => 'gate'},
	cluster => q{freeze_cluster(strategy => 'gate'},
	drain => q{freeze_database(strategy => 'gate', in_flight => 'drain'});

sub pick { return $_[ int rand @_ ]; }

# ---- the application: psqls that come back whatever becomes of the server ------

my $dir = PostgreSQL::Test::Utils::tempdir('writers');
my $stop = "$dir/stop";
my $loop = 'my ($stop, @psql) = @ARGV; until (-e $stop) { system(@psql); select(undef, undef, undef, 0.02) }';
append_to_file("$dir/write.sql", "INSERT INTO app.writes (who) VALUES (2); SELECT pg_sleep(0.005);\n" x 100);
my @application = map {
	IPC::Run::start([ $^X, '-e', $loop, $stop, $node->installed_command('psql'), '-XAtq', '-U', 'app', '-d', $node->connstr('postgres'), '-f', "$dir/write.sql" ],
		'<', \undef, '>', '/dev/null', '2>', '/dev/null')
} 1 .. $writers;

sub rows { return sql($node, 'SELECT count(*) FROM app.writes WHERE who = 2'); }

sub application_writes
{
	my $rows = rows();
	my $end = time + 60;

	while (time < $end)
	{
		return 1 if rows() >= $rows + 2 * $writers;
		usleep(10_000);
	}
	return 0;
}

# ---- looks --------------------------------------------------------------------

# Everything in one snapshot: live freezes as id, state, phase of the gate; rows.
sub look
{
	my ($freezes, $rows) = split /!/, sql($node, q{
SELECT coalesce(string_agg(concat_ws(' ', j.id, j.state, coalesce(g.phase, 'nothing')), ','), ''), '!', (SELECT count(*) FROM app.writes WHERE who = 2)
FROM freeze_journal j LEFT JOIN LATERAL freeze_gate(j.id) g ON true WHERE j.state NOT IN ('thawed', 'aborted')}) =~ s/\|//gr;
	return ($freezes, $rows);
}

# Until nobody works on anything.
sub settled
{
	my ($gone) = @_;
	my $end = time + 60;
	my ($freezes, $rows);

	do
	{
		usleep(20_000) if defined $freezes;
		($freezes, $rows) = look();
	} while ($freezes ne '' && ($gone || $freezes !~ /^\d+ frozen closed$/) && time < $end);
	return ($freezes, $rows);
}

# What is wrong; undef if nothing is.
sub problem
{
	my (%is) = @_;
	my ($freezes, $rows) = look();

	# never open where the journal says frozen and no thaw has begun
	if ($freezes =~ / frozen (?!closed)/ && !$is{thaws})
	{
		return "it is open: $freezes";
	}
	if (defined $is{rows} && !$is{thaws})
	{
		return "the hold had $is{rows} rows, and after the crash $rows" if $rows != $is{rows};
	}
	if ($freezes =~ / frozen closed/ && !$is{thaws})
	{
		my ($later, $more) = look();
		return "frozen with $rows rows, then with $more" if $later eq $freezes && $more != $rows;
	}

	($freezes, $rows) = settled($is{gone});
	return "it does not come to rest: $freezes" if $freezes ne '' && ($is{gone} || $freezes !~ /^\d+ frozen closed$/);
	return 'the freeze was reported and is not there' if $is{answered} eq 'frozen' && !$is{thaws} && $freezes eq '';
	return "the thaw was reported and the freeze is live: $freezes" if $is{answered} eq 'thawed' && $freezes ne '';
	if ($freezes ne '')
	{
		return 'it is frozen, and there is no state file' unless -e $file;
		my $goes = writing($node);
		return "it is frozen, and writing: $goes" unless $goes eq 'waits';
		my ($later, $more) = look();
		return "frozen with $rows rows, then with $more" if $more != $rows;
		my $held = sql($node, 'SELECT held, lost_reason FROM thaw_all()');
		return "it was frozen all the time, and the verdict is $held" unless $held eq 't|';
	}
	return 'nothing is frozen, and there is a state file' if -e $file;
	my $goes = writing($node);
	return "nothing is frozen, and writing: $goes" unless $goes eq 'done';
	return 'nothing is frozen, and the application does not go on' unless application_writes();
	return undef;
}

# ---- the kills ----------------------------------------------------------------

my ($most, $most_thaw);
foreach (1 .. 2)
{
	my $start = time;
	my $id = sql($node, "SELECT $calls{database})");
	$most = 1000 * (time - $start);
	$start = time;
	sql($node, "SELECT thaw($id)");
	$most_thaw = 1000 * (time - $start);
}
ok(application_writes(), 'the application writes');

my ($killed, $missed, %outcomes) = (0, 0);
while ($killed < $kills)
{
	my $what = pick(sort keys %calls);
	my $freeze = "SELECT $calls{$what}";
	my $action = pick(qw(freeze freeze freeze thaw thaw hold hold deadline));
	# somebody who has written, and waits for nothing but his own next statement
	my $idle = $what ne 'drain' && pick(0, 1);
	my $victim = $action eq 'hold' || $action eq 'deadline' ? pick(qw(client scheduler postmaster launcher)) : pick(qw(worker worker client caller scheduler postmaster));
	my $signal = $victim eq 'postmaster' || $victim eq 'client' ? 'KILL' : pick(qw(KILL KILL TERM));
	my $pause = rand($action eq 'freeze' ? $most : $action eq 'thaw' ? $most_thaw : $action eq 'deadline' ? 400 : 50);
	my ($writer, $running, $id, $rows);

	if ($idle)
	{
		$writer = open_session($node, user => 'app');
		$writer->query_safe('BEGIN; INSERT INTO app.writes (who) VALUES (3);');
	}
	$id = sql($node, $freeze . ($action eq 'deadline' ? q{, thaw_after => '200 ms')} : ')')) if $action ne 'freeze';
	$rows = rows() if $action eq 'hold';
	$running = start_sql($node, $action eq 'freeze' ? "$freeze);" : "SELECT id FROM thaw($id);", user => 'caller') if $action eq 'freeze' || $action eq 'thaw';

	# Not to wait for anything: the pause is what makes the moment a random one.
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
		$signal eq 'KILL' ? kill_backend($pid) : kill('TERM', $pid) if defined $pid;
	}
	my $out = $running ? (finish_sql($running))[1] : '';
	$writer->{run}->kill_kill if $writer;
	if (!defined $pid)
	{
		BAIL_OUT("$missed kills missed their victims, $killed hit") if ++$missed > 20 + 3 * $kills;
		settled($action eq 'deadline');
		sql($node, 'SELECT count(*) FROM thaw_all()');
		next;
	}
	$killed++;
	$victim eq 'postmaster' ? start_again($node) : (server_back($node) or die 'no recovery');

	my $how = sprintf 'kill %d: %s %s%s, %s %s after %d ms', $killed, $action, $what, $idle ? ' (somebody idle)' : '', $signal, $victim, $pause;
	my $problem = problem(rows => $rows, thaws => $action eq 'thaw' || $action eq 'deadline', gone => $action eq 'deadline',
		answered => $out =~ /^\d+$/ ? ($action eq 'thaw' ? 'thawed' : 'frozen') : $action eq 'hold' ? 'frozen' : 'nothing');
	if (!is($problem, undef, $how))
	{
		diag("PF_SEED=$seed PF_KILLS=$kills: $how");
		diag(sql($node, q{SELECT id, state, end_reason, held, lost_reason FROM freeze_journal ORDER BY id DESC LIMIT 3}));
		last;
	}
	$outcomes{"$action, $victim: " . sql($node, 'SELECT state FROM freeze_journal ORDER BY id DESC LIMIT 1')}++;
}

append_to_file($stop, '');
$_->finish foreach @application;

# What the verdicts say of all those holds is what the WAL says.
my @holds = map { my %hold; @hold{qw(id frozen_lsn thawed_lsn)} = split /\|/; \%hold } split /\n/,
  sql($node, q{SELECT id, frozen_lsn, thawed_lsn FROM freeze_journal WHERE held AND thawed_lsn > frozen_lsn ORDER BY id});
my ($others, @found) = commits_in_holds($node, 0, $from, @holds);
is(scalar @found, 0, 'the WAL has no commit of the application in a hold') || diag(@found);
cmp_ok($others, '>', 0, 'but others');
is(sql($node, q{SELECT count(*) FROM freeze_journal WHERE state NOT IN ('thawed', 'aborted') OR held IS FALSE}), '0', 'everything was thawed, and nothing was lost');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|XX000|deadlock detected/, 'nothing strange is in the log');
diag("seed $seed: $killed kills, $missed more missed; " . join('; ', map { "$_ $outcomes{$_}" } sort keys %outcomes));
done_testing();
