# A state file of strategy gate that is damaged closes the cluster for all but
# superusers, with one line in the log that says the way out: cut off at every
# length, and with each byte changed.
#
# The postmaster reads the file at its start and, in the same way, after the
# crash of a process: that is the faster way to have it read hundreds of files.

use strict;
use warnings;

use FindBin;
use IO::Socket::UNIX;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = new_server('main', conf => "shared_preload_libraries = 'pg_freeze'\nrestart_after_crash = on\n");
my $file = $node->data_dir . '/pg_freeze.gates';
my $way_out = $node->data_dir . '/pg_freeze.open';
my $line = qr/LOG:  pg_freeze: the state file "pg_freeze\.gates" is damaged: .*\n.*HINT:  A superuser runs SELECT \* FROM thaw_cluster\(force => true\), or creates the file pg_freeze\.open in the data directory and reloads\.\n/;
my $write = 'INSERT INTO other.t1 (id) VALUES (1)';

make_application($node);
my $id = sql($node, q{SELECT freeze_role('app', strategy => 'gate', action => 'reject')});
$node->stop;
my $intact = slurp_file($file);

# The server is stopped, or is about to crash.
sub put_file
{
	my ($content) = @_;

	open my $handle, '>:raw', $file or die "$file: $!";
	print $handle $content;
	close $handle;
	return;
}

sub lines { my ($from) = @_; my @found = slurp_file($node->logfile, $from) =~ /$line/g; return scalar @found; }

sub crash
{
	my $end = time + $PostgreSQL::Test::Utils::timeout_default;

	while (time < $end)
	{
		my ($pid) = backends($node, qr/walwriter/);
		return kill_backend($pid) if $pid;
		usleep(1000);
	}
	die 'no walwriter';
}

# What the server says to "other", who was never frozen and logs in: the text of
# the error, "open" if there is none, "" if no server is there.  By hand, because
# psql takes most of the time of this test to start.
sub login
{
	my $socket = IO::Socket::UNIX->new(Peer => $node->host . '/.s.PGSQL.' . $node->port) or return '';
	my $packet = pack('N', 196608) . "user\0other\0database\0postgres\0\0";
	my $answer = '';

	$socket->send(pack('N', 4 + length $packet) . $packet) or return '';
	while (sysread $socket, $answer, 8192, length $answer)
	{
		my $at = 0;
		while (length($answer) >= $at + 5)
		{
			my ($type, $size) = unpack 'aN', substr $answer, $at;
			last if length($answer) < $at + 1 + $size;
			return substr $answer, $at, 1 + $size if $type eq 'E';
			return 'open' if $type eq 'Z';
			$at += 1 + $size;
		}
	}
	return '';
}

sub answer
{
	my $end = time + $PostgreSQL::Test::Utils::timeout_default;

	while (time < $end)
	{
		my $said = login();
		return 'open' if $said eq 'open';
		return 'closed' if $said =~ /the cluster is frozen/;
		usleep(3000);
	}
	return 'no answer';
}

# --- a start --------------------------------------------------------------

my $log = log_size($node);
put_file(substr $intact, 0, 100);
$node->start;
is(answer(), 'closed', 'a damaged file at a start: everybody else is refused');
is((try_sql($node, 'SELECT 1', user => 'other'))[0] ne '', 1, 'readers too');
my ($state, undef, $err) = try_sql($node, $write, user => 'other');
like($err, qr/The state file of pg_freeze is damaged; everything may be frozen\..*HINT:  A superuser runs SELECT \* FROM thaw_cluster\(force => true\), or creates the file pg_freeze\.open/s,
	'and learns why, and the way out');
is((try_sql($node, $write))[0], '', 'a superuser goes on');
is(sql($node, q{SELECT target, mode, state, in_force, action, refused > 0, reason, to_thaw, remark FROM freeze_status WHERE id IS NULL}),
	'the cluster|all|frozen|t|reject|t|the state file of pg_freeze was damaged when the server started|SELECT * FROM public.thaw_cluster(force => true);|no freeze: nobody knows what was frozen',
	'and sees it in freeze_status');
is(lines($log), 1, 'one line is in the log');

# --- every length, every byte ---------------------------------------------

my @contents = (
	(map { [ "cut off after $_ bytes", substr $intact, 0, $_ ] } 0 .. length($intact) - 1),
	(map {
		my $changed = $intact;
		substr($changed, $_, 1) ^= chr(1 << ($_ % 8));
		[ "byte $_ changed", $changed ];
	} 0 .. length($intact) - 1),
	[ 'a byte too many', "$intact\0" ], [ 'the file twice', $intact x 2 ], [ 'zeroes', "\0" x length $intact ],
	[ 'a huge file', 'x' x 1_000_000 ]);
my (@open, @lines);

foreach my $try (@contents)
{
	my ($what, $content) = @$try;

	$log = log_size($node);
	put_file($content);
	crash();
	push @open, $what if answer() ne 'closed';
	push @lines, "$what: " . lines($log) if lines($log) != 1;
}
is(join("\n", @open), '', scalar(@contents) . ' damaged files: closed');
is(join("\n", @lines), '', 'and one line in the log for each');
is((try_sql($node, $write))[0], '', 'a superuser goes on');

# --- contents that no checksum finds --------------------------------------

my @table = map {
	my $c = $_;
	$c = ($c >> 1) ^ ($c & 1 ? 0x82F63B78 : 0) foreach (1 .. 8);
	$c;
} 0 .. 255;

sub sealed
{
	my ($content) = @_;
	my $crc = 0xFFFFFFFF;

	$crc = $table[ ($crc ^ $_) & 0xFF ] ^ ($crc >> 8) foreach (unpack 'C*', substr $content, 0, -4);
	return substr($content, 0, -4) . pack 'L', $crc ^ 0xFFFFFFFF;
}

# The header: 8 bytes of magic, version, size of a record, system identifier, count.
sub with
{
	my ($offset, $bytes) = @_;
	my $content = $intact;

	substr($content, $offset, length $bytes) = $bytes;
	return sealed($content);
}

is(sealed($intact), $intact, 'this test computes the same checksum');
foreach my $try (
	[ 'another version', with(8, pack 'L', 2) ],
	[ 'another size of a record', with(12, pack 'L', 8) ],
	[ 'no gate', sealed(substr(with(24, pack 'L', 0), 0, 32) . "\0" x 4) ],
	[ 'too many gates', with(24, pack 'L', 65) ],
	[ 'an impossible cause', with(32, pack 'L', 9) ],
	[ 'a name without an end', with(index($intact, "app\0"), 'x' x 64) ])
{
	my ($what, $content) = @$try;

	$log = log_size($node);
	put_file($content);
	crash();
	is(answer(), 'closed', "$what: closed");
	is(lines($log), 1, "$what: one line in the log");
}

$log = log_size($node);
put_file(with(16, pack 'Q', 4711));
crash();
is(answer(), 'open', q{another system's file: open});
$node->wait_for_log(qr/LOG:  pg_freeze: the state file "pg_freeze\.gates" is another server's and is ignored/, $log);
is(lines($log), 0, 'and no damage');

# --- the ways out ---------------------------------------------------------

sub damage
{
	put_file(substr $intact, 0, 50);
	crash();
	is(answer(), 'closed', "$_[0]: closed");
	return;
}

sub check_open
{
	my ($how) = @_;

	is(answer(), 'open', "$how: open");
	is(sql($node, 'SELECT count(*) FROM freeze_status WHERE id IS NULL'), '0', "$how: freeze_status says so");
	ok(!-e $file, "$how: the file is gone");
	ok(!-e $way_out, "$how: and the one that opens");
	is((try_sql($node, 'INSERT INTO app.writes (who) VALUES (1)', user => 'app'))[0], '', "$how: for who was frozen, too");
	$log = log_size($node);
	$node->restart;
	is(answer(), 'open', "$how: and after a restart");
	is(lines($log), 0, "$how: with nothing in the log");
	return;
}

damage('thaw_cluster');
is((try_sql($node, 'SELECT * FROM thaw_cluster(force => true)', user => 'other'))[0] ne '', 1, 'thaw_cluster: not for others');
($state, undef, $err) = try_sql($node, 'SELECT * FROM thaw_cluster()');
is($state, '55000', 'thaw_cluster: not without force');
like($err, qr/HINT:.*thaw_cluster\(force => true\)/, 'thaw_cluster: and the hint says so');
($state, my $out, $err) = try_sql($node, 'SELECT * FROM thaw_cluster(force => true)');
is("$state$out", '', 'thaw_cluster: no freeze is thawed');
like($err, qr/NOTICE:.*the cluster is open; it was closed because the state file of pg_freeze was damaged/, 'thaw_cluster: and a notice says what was done');
check_open('thaw_cluster');

damage('a reload');
append_to_file($way_out, '');
$node->reload;
wait_until($node, q{SELECT pg_stat_file('pg_freeze.open', true) IS NULL});
check_open('a reload');

damage('a start');
$node->stop('immediate');
append_to_file($way_out, '');
$node->start;
check_open('a start');

# --- freezing meanwhile ---------------------------------------------------

damage('a freeze meanwhile');
($state, undef, $err) = try_sql($node, q{SELECT freeze_role('agent', strategy => 'gate', action => 'reject')});
is($state, '55000', 'a freeze meanwhile is refused');
like($err, qr/thaw_cluster\(force => true\)/, 'and the hint says what comes first');
sql($node, 'SELECT * FROM thaw_cluster(force => true)');
is(answer(), 'open', 'a freeze meanwhile: the cluster is thawed');
my $meanwhile = sql($node, q{SELECT freeze_role('agent', strategy => 'gate', action => 'reject')});
is(sql($node, "SELECT held FROM thaw($meanwhile)"), 't', 'after that a freeze can be made, and holds');

is(sql($node, "SELECT held FROM thaw($id)"), 'f', 'what the damaged file had is known not to have held');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|XX000/, 'nothing strange is in the log');
done_testing();
