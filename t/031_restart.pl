# Thawing on schedule, with shared_preload_libraries: a restart changes nothing,
# and what came due while the server was down is thawed at its start.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main', conf => "shared_preload_libraries = 'pg_freeze'\n");
make_application($node, tables => 10);
sql($node, 'CREATE DATABASE second');
make_application($node, tables => 10, db => 'second', roles_exist => 1);
my %before = map { $_ => privileges($node, db => $_) } qw(postgres second);

sub freeze { return sql($node, "SELECT freeze_role('$_[0]', strategy => 'revoke', thaw_after => '$_[1]')", db => $_[2]); }
sub state_of { return sql($node, "SELECT state FROM freeze_journal WHERE id = $_[0]", db => $_[1]); }
sub wait_thawed { return wait_until($node, "SELECT state = 'thawed' FROM freeze_journal WHERE id = $_[0]", db => $_[1]); }
sub on_time
{
	return sql($node, "SELECT thawed_at >= thaw_at AND thawed_at < thaw_at + interval '5 s', end_reason ~ '^thawed on schedule' FROM freeze_journal WHERE id = $_[0]",
		db => $_[1]);
}

foreach my $mode (qw(fast immediate))
{
	my %app = map { $_ => freeze('app', '7 s', $_) } qw(postgres second);
	my %due = map { $_ => freeze('agent', '1 s', $_) } qw(postgres second);
	my $kept = freeze('other', '0', 'second');
	my $last = sql($node, "SELECT thaw_at FROM freeze_journal WHERE id = $due{second}", db => 'second');

	$node->stop($mode);
	# time has to pass for a server that is down; there is nobody to ask
	select(undef, undef, undef, 1.2);
	$node->start;
	foreach my $db (qw(postgres second))
	{
		wait_thawed($due{$db}, $db);
		pass("$mode, $db: what came due while the server was down is thawed at its start");
		is(state_of($app{$db}, $db), 'frozen', "$mode, $db: what did not is still frozen");
		is(sql($node, "SELECT in_force FROM freeze_status WHERE id = $app{$db} AND home = current_database()", db => $db), 't', "$mode, $db: and in force");
	}
	foreach my $db (qw(postgres second))
	{
		wait_thawed($app{$db}, $db);
		is(on_time($app{$db}, $db), 't|t', "$mode, $db: until its time");
	}
	is(state_of($kept, 'second'), 'frozen', "$mode: what has no deadline stays");
	sql($node, "SELECT thaw($kept)", db => 'second');
	foreach my $db (qw(postgres second))
	{
		same_privileges(privileges($node, db => $db), $before{$db}, "$mode, $db: all privileges are back");
	}
}

my %id = map { $_ => freeze('app', '1 hour', $_) } qw(postgres second);
$node->append_conf('postgresql.conf', q{pg_freeze.on_restart = 'thaw'});
$node->restart;
foreach my $db (qw(postgres second))
{
	wait_thawed($id{$db}, $db);
	like(sql($node, "SELECT end_reason FROM freeze_journal WHERE id = $id{$db}", db => $db),
		qr/on_restart is thaw/, "on_restart = thaw, $db: thawed at the start");
	same_privileges(privileges($node, db => $db), $before{$db}, "on_restart = thaw, $db: all privileges are back");
}

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|XX000/, 'nothing strange is in the log');
done_testing();
