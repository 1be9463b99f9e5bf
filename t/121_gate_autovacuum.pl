# Autovacuum and gates: it stays away from what is frozen, quietly, and comes
# back; against wraparound it passes.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main', conf => q{
shared_preload_libraries = 'pg_freeze'
pg_freeze.strategy = 'gate'
pg_freeze.exempt_roles = 'filler'
log_line_prefix = '%m [%p] %b %q%a '
log_autovacuum_min_duration = 0
autovacuum_naptime = 1s
autovacuum_vacuum_threshold = 1
autovacuum_vacuum_scale_factor = 0
autovacuum_freeze_max_age = 100000
});

sql($node, q{
CREATE EXTENSION pg_freeze;
CREATE ROLE filler LOGIN SUPERUSER;
CREATE ROLE app LOGIN;
});
foreach my $db (qw(shop other))
{
	sql($node, "CREATE DATABASE $db");
	sql($node, 'CREATE TABLE t (id int, note text)', db => $db);
}

# How often autovacuum has been at a table.
sub visits
{
	my ($db, $table) = @_;
	return sql($node, "SELECT autovacuum_count FROM pg_stat_user_tables WHERE relname = '$table'", db => $db);
}

# Leaves dead rows, as a role that passes every gate.
sub make_work
{
	my ($db, $table) = @_;

	sql($node, "INSERT INTO $table SELECT i, 'row' FROM generate_series(1, 500) i; DELETE FROM $table", db => $db, user => 'filler');
	return;
}

# Polls until autovacuum has been somewhere once more.
sub comes
{
	my ($db, $table) = @_;
	my $count = visits($db, $table);

	make_work($db, $table);
	return wait_until($node, "SELECT autovacuum_count > $count FROM pg_stat_user_tables WHERE relname = '$table'", db => $db);
}

# What the log says of autovacuum that is not a report of a table done elsewhere.
sub complaints
{
	my ($from) = @_;
	my $log = slurp_file($node->logfile, $from);

	return join("\n", grep { /autovacuum/ && !/LOG:  automatic (?:aggressive )?(?:vacuum|analyze) of table "(?!shop)/ }
		  grep { !/DEBUG|STATEMENT|LOG:  statement:/ } split /\n/, $log);
}

my @frozen = (
	[ 'the database' => q{SELECT freeze_database('shop')} ],
	[ 'the database, mode all' => q{SELECT freeze_database('shop', mode => 'all')} ],
	[ 'the database, action reject' => q{SELECT freeze_database('shop', action => 'reject')} ],
);

ok(comes('shop', 't'), 'autovacuum comes to shop') && ok(comes('other', 't'), 'and to other');

foreach my $case (@frozen)
{
	my ($name, $sql) = @$case;
	my $id = sql($node, $sql);
	my $from = log_size($node);
	my $launcher = sql($node, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'autovacuum launcher'});
	my $visits = visits('shop', 't');

	make_work('shop', 't');
	# the launcher goes round: shop has had its turn twice when other has had it three times
	comes('other', 't') foreach 1 .. 3;
	is(visits('shop', 't'), $visits, "$name: autovacuum stays away");
	is(complaints($from), '', "$name: and says nothing");
	is(sql($node, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'autovacuum launcher'}), $launcher, "$name: the launcher is the same");
	sql($node, "SELECT thaw($id)");
	wait_until($node, "SELECT autovacuum_count > $visits FROM pg_stat_user_tables WHERE relname = 't'", db => 'shop');
	pass("$name: it comes back after the thaw");
}

# --- the cluster: no database is visited, and the launcher does not spin ----

{
	my $id = sql($node, 'SELECT freeze_cluster()');
	my $from = log_size($node);
	my %visits = map { $_ => visits($_, 't') } qw(shop other);

	make_work($_, 't') foreach qw(shop other);
	# each new process says so at this level
	$node->append_conf('postgresql.conf', 'log_min_messages = debug3');
	$node->reload;
	my $seen = log_size($node);
	my $started = time;
	my $workers;
	do
	{
		select(undef, undef, undef, 0.1);
		$workers = () = slurp_file($node->logfile, $seen) =~ /autovacuum worker.*DEBUG:  InitPostgres/g;
	} while ($workers < 8 && time - $started < $PostgreSQL::Test::Utils::timeout_default);
	my $took = time - $started;
	cmp_ok($workers, '>=', 8, 'the cluster: workers come');
	cmp_ok($workers / ($took + 1), '<=', 8, "but no more often than they do in four or five databases ($workers in $took s)");
	$node->append_conf('postgresql.conf', 'log_min_messages = info');
	$node->reload;
	is(visits($_, 't'), $visits{$_}, "the cluster: autovacuum stays away from $_") foreach qw(shop other);
	is(complaints($from), '', 'the cluster: and says nothing');
	sql($node, "SELECT thaw($id)");
	wait_until($node, "SELECT autovacuum_count > $visits{$_} FROM pg_stat_user_tables WHERE relname = 't'", db => $_) foreach qw(shop other);
	pass('the cluster: it comes back after the thaw');
}

# --- a role: autovacuum belongs to nobody -----------------------------------

{
	my $id = sql($node, q{SELECT freeze_role('app')});
	ok(comes('shop', 't'), 'a role: autovacuum goes on');
	sql($node, "SELECT thaw($id)");
}

# --- one at work is sent away -----------------------------------------------

{
	sql($node, q{
CREATE TABLE slow (id int, note text) WITH (autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1);
INSERT INTO slow SELECT i, repeat('x', 500) FROM generate_series(1, 20000) i;
DELETE FROM slow;
}, db => 'shop');
	wait_until($node, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'autovacuum: VACUUM%public.slow%'});
	my $from = log_size($node);
	my $id = sql($node, q{SELECT freeze_database('shop')});
	is(sql($node, q{SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop' AND backend_type = 'autovacuum worker'
		AND query LIKE '%public.slow%' AND wait_event = 'VacuumDelay'}), '0', 'a worker in the middle of a table has gone when the freeze is made');
	is(scalar(() = slurp_file($node->logfile, $from) =~ /canceling autovacuum task/g), 1, 'with one line in the log');
	wait_until($node, q{SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = 'shop' AND backend_type = 'autovacuum worker'});
	$from = log_size($node);
	comes('other', 't') foreach 1 .. 2;
	is(complaints($from), '', 'and does not come again');
	sql($node, "SELECT thaw($id)");
	sql($node, 'DROP TABLE slow', db => 'shop');
}

# --- against wraparound -----------------------------------------------------

{
	my $id = sql($node, q{SELECT freeze_database('shop')});
	my $old = sql($node, q{SELECT datfrozenxid FROM pg_database WHERE datname = 'shop'});

	sql($node, q{
CREATE TABLE burned (id int);
DO $$
BEGIN
	FOR i IN 1 .. 120000 LOOP
		BEGIN
			INSERT INTO burned VALUES (i);
		EXCEPTION WHEN division_by_zero THEN
		END;
		IF i % 10000 = 0 THEN COMMIT; END IF;
	END LOOP;
END $$;
});
	wait_until($node, "SELECT datfrozenxid <> '$old' AND age(datfrozenxid) < 100000 FROM pg_database WHERE datname = 'shop'");
	pass('autovacuum against wraparound comes to a frozen database');
	like(slurp_file($node->logfile), qr/automatic aggressive vacuum to prevent wraparound of table "shop\.public\.t"/, 'the log says so');
	is(sql($node, "SELECT state FROM freeze_status WHERE id = $id"), 'frozen', 'the freeze is still there');

	my $visits = visits('shop', 't');
	make_work('shop', 't');
	comes('other', 't') foreach 1 .. 3;
	is(visits('shop', 't'), $visits, 'once it is young again autovacuum stays away');
	like(sql($node, "SELECT evidence FROM thaw($id)"), qr/, [1-9]\d* transactions of autovacuum against wraparound/, 'the evidence says that it was there');
}

done_testing();
