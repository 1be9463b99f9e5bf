# Strategy lock: who waits, for which freeze, what others may see of it, and that
# who waits behind somebody who waits for a freeze waits for it too.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use Test::More;

my $node = new_server('waiters');
sql($node, q{
CREATE EXTENSION pg_freeze;
CREATE ROLE app LOGIN;
CREATE ROLE nobody_special LOGIN;
CREATE ROLE monitor LOGIN IN ROLE pg_read_all_stats;
CREATE SCHEMA a;
CREATE SCHEMA b;
GRANT ALL ON SCHEMA a, b TO app;
CREATE TABLE a.t (i int);
CREATE SEQUENCE a.s;
CREATE TABLE b.t (i int);
GRANT ALL ON a.t, b.t, a.s TO app;
});

my $list = q{SELECT w.id, w.role, w.application, w.state, w.object, w.mode, rtrim(w.query, ';'), w.since <= clock_timestamp()
	FROM freeze_waiters w ORDER BY w.id, w.application};
my $per_freeze = 'SELECT id, waiters FROM freeze_status ORDER BY id';

# Starts statements of app's and polls until they wait.
sub waiter
{
	my ($name, $sql) = @_;
	my $running = start_sql($node, "SET application_name = '$name'; $sql;", user => 'app');

	wait_until($node, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = '$name' AND wait_event_type = 'Lock')");
	return $running;
}

my $first = sql($node, q{SELECT freeze_schema('a', strategy => 'lock')});
is(sql($node, $list), '', 'nobody waits at first');
is(sql($node, $per_freeze), "$first|0", 'and nobody is counted');

my @waiters = (
	waiter('advances', q{SELECT nextval('a.s')}),
	waiter('creates', 'CREATE TABLE a.u (i int)'),
	waiter('locks', 'BEGIN; LOCK TABLE a.t; COMMIT'),
	waiter('reads', 'SELECT * FROM a.t'),
	waiter('writes', 'INSERT INTO a.t VALUES (1)'));
is(sql($node, $list), join("\n",
		"$first|app|advances|active|sequence a.s|RowExclusiveLock|SELECT nextval('a.s')|t",
		"$first|app|creates|active|schema a|AccessShareLock|CREATE TABLE a.u (i int)|t",
		"$first|app|locks|active|table a.t|AccessExclusiveLock|LOCK TABLE a.t|t",
		"$first|app|reads|active|table a.t|AccessShareLock|SELECT * FROM a.t|t",
		"$first|app|writes|active|table a.t|RowExclusiveLock|INSERT INTO a.t VALUES (1)|t"),
	'everybody who waits is listed');
is(sql($node, $per_freeze), "$first|5", 'and counted');
is(sql($node, 'SELECT count(*), count(query), bool_and(role = $$app$$) FROM freeze_waiters', user => 'nobody_special'),
	'5|0|t', 'anybody may look, but not at queries');
is(sql($node, 'SELECT count(*), count(query) FROM freeze_waiters', user => 'monitor'), '5|5', 'a monitoring role sees those');
is(sql($node, $per_freeze, user => 'nobody_special'), "$first|5", 'anybody may count');

my $other = open_session($node);
$other->query_safe('BEGIN; LOCK TABLE b.t');
my $elsewhere = waiter('elsewhere', 'INSERT INTO b.t VALUES (1)');
is(sql($node, 'SELECT count(*) FROM freeze_waiters'), '5', 'who waits for somebody else is not listed');
$other->query_safe('COMMIT');
finish_sql($elsewhere);

my $second = sql($node, q{SELECT freeze_schema('b', strategy => 'lock')});
push @waiters, waiter('other', 'INSERT INTO b.t VALUES (1)');
is(sql($node, $per_freeze), "$first|5\n$second|1", 'each freeze has its own');
$other->query_safe(q{SELECT thaw(} . $first . q{)});
is((finish_sql($_))[0], '', 'who waited for one that is thawed goes on') foreach splice @waiters, 0, 5;
is(sql($node, $per_freeze), "$second|1", 'the others wait on');
my $third = sql($node, q{SELECT freeze_database(strategy => 'lock', mode => 'all')});
is(sql($node, $per_freeze), "$second|1\n$third|1", 'who waits for two counts twice');
sql($node, "SELECT * FROM thaw($second)");
is(sql($node, $per_freeze), "$third|1", 'until one is thawed');
sql($node, "SELECT * FROM thaw($third)");
is((finish_sql($_))[0], '', 'then the last goes on') foreach @waiters;
is(sql($node, 'SELECT count(*) FROM freeze_waiters'), '0', 'and nobody waits');
$other->quit;

done_testing();
