# The way out of a freeze by gate without any SQL function: a file in the data
# directory and a reload or a start.  And a clone that thaws by itself.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::RecursiveCopy;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main', conf => "shared_preload_libraries = 'pg_freeze'\n");
my $file = $node->data_dir . '/pg_freeze.gates';
my $way_out = $node->data_dir . '/pg_freeze.open';
my $line = qr/LOG:  pg_freeze: every gate is open, because there is a file pg_freeze\.open/;

make_application($node);
sql($node, 'CREATE DATABASE second');
make_application($node, db => 'second', roles_exist => 1);

sub lines { my ($from) = @_; my @found = slurp_file($node->logfile, $from) =~ /$line/g; return scalar @found; }
sub freezes
{
	return (
		postgres => [ sql($node, q{SELECT freeze_role('app', strategy => 'gate')}), sql($node, q{SELECT freeze_role('agent', mode => 'all', strategy => 'gate', action => 'reject')}) ],
		second => [ sql($node, q{SELECT freeze_cluster(strategy => 'gate', thaw_after => '1 hour')}, db => 'second') ]);
}

# Nothing is closed, everything is written down.
sub check
{
	my ($how, %id) = @_;

	ok(!-e $file, "$how: the state file is gone");
	ok(!-e $way_out, "$how: and so is the other one");
	is((try_sql($node, 'INSERT INTO other.t1 (id) VALUES (1)', user => 'agent'))[0], '', "$how: who was refused writes");
	is(writing($node, db => $_), 'done', "$how: all write in $_") foreach (qw(postgres second));
	foreach my $db (qw(postgres second))
	{
		foreach my $id (@{ $id{$db} })
		{
			wait_until($node, "SELECT state = 'lost' FROM freeze_journal WHERE id = $id", db => $db);
			is(sql($node, "SELECT in_force FROM freeze_status WHERE id = $id AND home = '$db'", db => $db), 'f', "$how: freeze $id of $db is not in force");
			is(sql($node, "SELECT held, lost_reason IS NOT NULL FROM thaw($id)", db => $db), 'f|t', "$how: and did not hold");
		}
	}
	return;
}

# --- a reload -------------------------------------------------------------

{
	my %id = freezes();
	my $log = log_size($node);
	my $waiter = start_sql($node, 'INSERT INTO app.writes (who) VALUES (7);', user => 'app');
	wait_until($node, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE usename = 'app' AND wait_event_type = 'Extension'});

	append_to_file($way_out, '');
	is(lines($log), 0, 'reload: nothing happens before it');
	$node->reload;
	is((finish_sql($waiter))[0], '', 'reload: who waited goes on');
	$node->wait_for_log($line, $log);
	check('reload', %id);
	is(lines($log), 1, 'reload: one line says so');

	$log = log_size($node);
	append_to_file($way_out, '');
	$node->reload;
	$node->wait_for_log($line, $log);
	ok(!-e $way_out, 'reload with nothing frozen: the file goes all the same');

	my $later = sql($node, q{SELECT freeze_role('app', strategy => 'gate')});
	$node->reload;
	is(writing($node), 'waits', 'a later freeze is not concerned');
	is(sql($node, "SELECT held FROM thaw($later)"), 't', 'and holds');
}

# --- a start --------------------------------------------------------------

foreach my $mode (qw(fast immediate))
{
	my %id = freezes();
	my $log = log_size($node);

	$node->stop($mode);
	append_to_file($way_out, '');
	$node->start;
	check("start after stop $mode", %id);
	is(lines($log), 1, "start after stop $mode: one line says so");
	$node->restart;
	is(writing($node), 'done', "start after stop $mode: and so it stays");
}

# --- when the functions don't work ----------------------------------------

{
	my %id = freezes();

	$node->stop;
	$node->append_conf('postgresql.conf', "max_worker_processes = 1\n");
	append_to_file($way_out, '');
	$node->start;
	is(writing($node, db => $_), 'done', "without a free worker slot: all write in $_") foreach (qw(postgres second));
	$node->append_conf('postgresql.conf', "max_worker_processes = 20\n");
	$node->restart;
	check('a worker slot later', %id);
}

# --- a clone --------------------------------------------------------------

{
	my %id = freezes();
	my $clone = PostgreSQL::Test::Cluster->new('clone');

	# as from a snapshot of the volume
	$node->stop('immediate');
	PostgreSQL::Test::RecursiveCopy::copypath($node->data_dir, $clone->data_dir);
	$node->start;
	chmod 0700, $clone->data_dir or die $!;
	$clone->append_conf('postgresql.conf', sprintf("port = %d\npg_freeze.on_restart = 'thaw'\n", $clone->port));
	$clone->start;
	foreach my $db (qw(postgres second))
	{
		wait_until($clone, "SELECT count(*) = 0 FROM freeze_journal WHERE state <> 'thawed'", db => $db);
		is(writing($clone, db => $db), 'done', "a clone with on_restart = thaw comes up frozen and thaws by itself: $db");
		is(sql($clone, "SELECT bool_and(end_reason ~ 'on_restart') FROM freeze_journal WHERE id IN (" . join(',', @{ $id{$db} }) . ')', db => $db),
			't', 'and says why');
	}
	ok(!-e $clone->data_dir . '/pg_freeze.gates', 'its state file is gone');
	is(writing($node), 'waits', 'where it comes from all is frozen as before');
	foreach my $db (qw(postgres second))
	{
		is(sql($node, "SELECT held FROM thaw($_)", db => $db), 't', "freeze $_ of $db held") foreach (@{ $id{$db} });
	}
}

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|XX000/, 'nothing strange is in the log');
done_testing();
