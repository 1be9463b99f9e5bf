# With shared_preload_libraries every live freeze of the cluster is seen, thawed
# and extended from any database; without, what isn't seen is said.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main', conf => "shared_preload_libraries = 'pg_freeze'\nrestart_after_crash = on\n");
make_application($node, tables => 5);
foreach my $db (qw(shop depot))
{
	sql($node, "CREATE DATABASE $db");
	make_application($node, tables => 5, db => $db, roles_exist => 1);
}
sql($node, 'CREATE DATABASE third');
sql($node, 'CREATE EXTENSION pg_freeze', db => 'third');
my %before = map { $_ => privileges($node, db => $_) } qw(shop depot);
my ($state, $out, $err);

sub freeze
{
	my ($db, $what, %opt) = @_;
	return sql($node, "SELECT freeze_$what", db => $db, %opt);
}

# What a database sees of others, and which is not its own.
sub seen
{
	my ($db, $columns) = @_;
	return sql($node, "SELECT $columns FROM freeze_status WHERE home <> current_database()", db => $db);
}

sub history
{
	my ($db, $id, $columns) = @_;
	return sql($node, "SELECT $columns FROM freeze_journal WHERE id = $id", db => $db);
}

# Takes all worker slots, by freezes of role app in a database where it writes;
# others: how many are taken without them.
sub fill_slots
{
	my ($db, $others) = @_;
	return map { start_in_slot($node, q{SELECT freeze_role('app', strategy => 'revoke', drain_timeout => '1 h')},
		"SELECT count(*) = $_ FROM freeze_journal WHERE state = 'draining'", db => $db, user => 'caller') } 1 .. sql($node, 'SHOW max_worker_processes') - $others;
}

# Ids that don't meet by accident: depot's begin at 101, shop's at 11.
sql($node, 'ALTER TABLE freeze_journal ALTER id RESTART 11', db => 'shop');
sql($node, 'ALTER TABLE freeze_journal ALTER id RESTART 101', db => 'depot');
wait_until($node, 'SELECT freeze_not_shown() IS NULL');

# --- what is seen ----------------------------------------------------------

my $revoke = freeze('shop', q{role('app', strategy => 'revoke', thaw_after => '1 hour', reason => 'moving house', label => 'move')});
my $lock = freeze('depot', q{schema('app', mode => 'all', strategy => 'lock')});
is(sql($node, 'SELECT count(*) FROM freeze_status WHERE home = current_database()'), '0', 'nothing is frozen here');
is(seen('postgres', q{id, target, mode, strategy, state, in_force IS NULL, thaw_at = since + interval '1 hour' OR thaw_at IS NULL, by = current_user, session_user_name = session_user, reason, label, changed > 0, home, waiters IS NULL, holder IS NULL, to_thaw}),
	"$lock|schema app|all|lock|frozen|t|t|t|t|||t|depot|t|t|SELECT * FROM public.thaw($lock, home => 'depot');\n"
	  . "$revoke|role app|write|revoke|frozen|t|f|t|t|moving house|move|t|shop|t|t|SELECT * FROM public.thaw($revoke, home => 'shop');",
	'freezes of two other databases, seen from a third');
is(sql($node, 'SELECT id, home, in_force FROM freeze_status', db => 'shop'), "$revoke|shop|t\n$lock|depot|", 'its own freezes come first');
foreach my $column (qw(frozen_lsn since thaw_at changed state mode label reason application pid))
{
	is(sql($node, "SELECT $column FROM freeze_status WHERE id = $revoke"), sql($node, "SELECT $column FROM freeze_status WHERE id = $revoke", db => 'shop'),
		"$column is the same from elsewhere");
}
is(sql($node, 'SELECT count(*) FROM freeze_status WHERE pid IS NOT NULL OR address IS NOT NULL', user => 'reader'), '0', 'pids and addresses are not for everybody');
is(sql($node, 'SELECT count(*) FROM freeze_status WHERE home <> current_database()', user => 'reader'), '2', 'the rest is');
is(sql($node, "SELECT remark FROM freeze_status WHERE id = $revoke", db => 'shop'), '', 'nothing is hidden, so no remark');

# --- by id -----------------------------------------------------------------

is(sql($node, "SELECT id, target, strategy, held IS DISTINCT FROM false, skipped FROM thaw($revoke)"), "$revoke|role app|revoke|t|0", 'thaw(id) from elsewhere has the verdict');
same_privileges(privileges($node, db => 'shop'), $before{shop}, 'and puts everything back');
is(seen('postgres', 'id'), $lock, 'and it is not seen any more');
like(history('shop', $revoke, 'end_reason'), qr/^thawed by /, 'the journal of its home has the end');
is(sql($node, sql($node, "SELECT to_thaw FROM freeze_status WHERE id = $lock") =~ s/\*/id, held/r, db => 'shop'), "$lock|t", 'what to_thaw says works from elsewhere');
is(writing($node, db => 'depot'), 'done', 'and the locks are gone');

# An id that this database has used leads nowhere else by itself.
$revoke = freeze('postgres', q{role('agent', strategy => 'revoke')});
sql($node, "ALTER TABLE freeze_journal ALTER id RESTART $revoke", db => 'depot');
my $same = freeze('depot', q{role('agent', strategy => 'revoke')});
is($same, $revoke, 'two databases have the same id');
is(sql($node, "SELECT target, restored > 0 FROM thaw($revoke)"), 'role agent|t', 'the one here is thawed first');
is(seen('shop', 'id, home'), "$same|depot", 'and the other one is left');
($state, undef, $err) = try_sql($node, "SELECT * FROM thaw($revoke)");
is($state, '55000', 'thawing it again does not thaw that of another database');
like($err, qr/freeze $revoke of this database is over\n.*DETAIL:  It ended at .*: thawed by .*Live elsewhere: freeze $same of database depot by .*, no deadline\.\nHINT:  To thaw that one: SELECT \* FROM public\.thaw\($same, home => 'depot'\);/s, 'but says when it ended and which other one is live');
$out = freeze('shop', q{role('other', strategy => 'revoke')});
sql($node, "SELECT * FROM thaw($out)", db => 'shop');
sql($node, "ALTER TABLE freeze_journal ALTER id RESTART $same", db => 'shop');
is(freeze('shop', q{role('agent', strategy => 'revoke', thaw_after => '1 hour')}), $same, 'one more has it');
($state, undef, $err) = try_sql($node, "SELECT * FROM thaw($same)", db => 'third');
is($state, '22023', 'an id that is live in two other databases');
like($err, qr/freeze $same is live in 2 databases\n.*DETAIL:  freeze $same of database (shop|depot) by \S+, (until|no deadline).*; freeze $same of database (shop|depot) by .*\nHINT:  Say which one, for example: SELECT \* FROM public\.thaw\($same, home => '(shop|depot)'\);/s, 'lists both');
is(sql($node, "SELECT id FROM thaw($same, home => 'shop')", db => 'third'), $same, 'thaw with home');
is(history('shop', $same, 'state') . history('depot', $same, 'state'), 'thawedfrozen', 'thaws that one');
is(sql($node, "SELECT id FROM thaw($same)", db => 'third'), $same, 'the only one that is left needs none');
($state, undef, $err) = try_sql($node, "SELECT * FROM thaw($same, home => 'shop')", db => 'third');
is($state, '55000', 'thawed already, in another database');
like($err, qr/freeze $same is over\n.*DETAIL:  It ended at .*\nCONTEXT:  .*database shop/s, 'when, and where');
my $plain = freeze('depot', q{role('app', strategy => 'revoke')});
foreach my $case ([ "freeze_alter($plain, 'reject', 'depot')", '55000', qr/cannot be altered/ ], [ "freeze_pass($plain)", '55000', qr/has no pass/ ],
	[ "freeze_alter(4711, 'reject', 'depot')", '22023', qr/there is no freeze 4711/ ], [ "freeze_pass(4711, 'depot')", '22023', qr/no freeze 4711 is live in database depot/ ],
	[ "thaw(4711)", '22023', qr/there is no freeze 4711 in this database/ ],
	[ "thaw(4711, home => 'shop')", '22023', qr/there is no freeze 4711 in this database.*CONTEXT:  pg_freeze in database shop/s ],
	[ "thaw(4711, home => 'postgres')", '22023', qr/there is no freeze 4711/ ],
	[ "thaw(1, home => 'nowhere')", '3D000', qr/database "nowhere" does not exist/ ],
	[ "thaw(1, home => 'template1')", '55000', qr/extension "pg_freeze" is not installed/ ],
	[ "thaw(1, home => 'template0')", '42501', qr/may not connect to database template0/ ],
	[ "freeze_extend(4711, '1 s', home => 'shop')", '22023', qr/there is no freeze 4711/ ])
{
	($state, undef, $err) = try_sql($node, "SELECT * FROM $case->[0]");
	is($state, $case->[1], $case->[0]);
	like($err, $case->[2], "$case->[0]: the message");
}
sql($node, "SELECT thaw($plain)");

sql($node, "ALTER TABLE freeze_journal ALTER id RESTART $_->[1]", db => $_->[0]) foreach [ shop => 1001 ], [ depot => 2001 ];

# --- the deadline ----------------------------------------------------------

my $id = freeze('shop', q{role('app', strategy => 'revoke', thaw_after => '1 hour')});
my $at = sql($node, "SELECT freeze_extend($id, '2 hours')");
is(history('shop', $id, 'thaw_at'), $at, 'freeze_extend from elsewhere');
is(seen('postgres', 'thaw_at'), $at, 'and the new deadline is seen');
is(sql($node, "SELECT freeze_extend($id, '0')"), '', 'freeze_extend to no deadline');
is(seen('postgres', 'thaw_at'), '', 'and that is seen');
sql($node, "SELECT freeze_extend($id, '1 s', home => 'shop')", db => 'depot');
wait_until($node, "SELECT state = 'thawed' FROM freeze_journal WHERE id = $id", db => 'shop');
is(history('shop', $id, q{end_reason ~ 'on schedule', thawed_at >= thaw_at, thawed_at < thaw_at + interval '1 s'}), 't|t|t', 'a deadline set from elsewhere is kept exactly');
is(seen('postgres', 'id'), '', 'and the freeze is not seen any more');

# --- by name, by label, all ------------------------------------------------

$id = freeze('shop', q{role('app', strategy => 'revoke', label => 'nightly')});
is(sql($node, q{SELECT id FROM thaw_role('app')}), $id, 'thaw_role from elsewhere');
($state, undef, $err) = try_sql($node, q{SELECT * FROM thaw_role('app')});
is($state, '55000', 'and again');
like($err, qr/role app is not frozen\n/, 'it is nowhere frozen');
my %two = map { $_ => freeze($_, q{role('app', strategy => 'revoke', label => 'nightly')}) } qw(shop depot);
($state, undef, $err) = try_sql($node, q{SELECT * FROM thaw_role('app')});
is($state, '55000', 'a role that is frozen in two databases');
like($err, qr/role app has 2 live freezes\n.*DETAIL:  freeze \d+ of database (shop|depot) by .*; freeze \d+ of database (shop|depot) by .*HINT:  .*home => database/s, 'lists them');
($state) = try_sql($node, q{SELECT * FROM thaw_role('app')}, db => 'shop');
is($state, '55000', 'also where one of them is at home');
is(sql($node, q{SELECT count(*) FROM thaw_role('app', force => true)}), '2', 'force thaws both');
is(history('shop', $two{shop}, 'state') . history('depot', $two{depot}, 'state'), 'thawedthawed', 'in both databases');
$id = freeze('shop', q{database(strategy => 'lock')});
is(sql($node, q{SELECT id FROM thaw_database('shop')}), $id, 'thaw_database from elsewhere');
$id = freeze('shop', q{schema('app', strategy => 'revoke', label => 'nightly')});
($state, undef, $err) = try_sql($node, q{SELECT * FROM thaw_schema('app')}, db => 'depot');
is($state, '55000', 'a schema of the same name in another database is another schema');
is(sql($node, q{SELECT id FROM thaw_label('nightly')}), $id, 'thaw_label from elsewhere');
%two = map { $_ => freeze($_, q{role('app', strategy => 'revoke')}) } qw(postgres shop depot);
is(sql($node, 'SELECT count(*) FROM thaw_all()', db => 'depot'), '3', 'thaw_all in three databases');
is(sql($node, 'SELECT count(*) FROM freeze_status'), '0', 'nothing is left');
is(sql($node, 'SELECT count(*) FROM thaw_all()', db => 'depot'), '0', 'and again');
foreach my $db (qw(shop depot))
{
	same_privileges(privileges($node, db => $db), $before{$db}, "$db is as it was");
}

# One that can't be thawed doesn't keep the others frozen, whichever comes first: somebody's GRANT is in the way.
my $busy;
foreach my $db (qw(shop depot))
{
	my ($other) = grep { $_ ne $db } qw(shop depot);

	%two = map { $_ => freeze($_, q{role('app', strategy => 'revoke')}) } qw(shop depot);
	$busy = open_session($node, db => $db);
	$busy->query_safe('BEGIN');
	$busy->query_safe('GRANT SELECT ON app.t1 TO agent');
	($state, undef, $err) = try_sql($node, 'SELECT * FROM thaw_all()');
	is($state, '55P03', "thaw_all where somebody in $db is in the way");
	like($err, qr/CONTEXT:  .*database $db/, 'says where');
	is(history($other, $two{$other}, 'state'), 'thawed', "$other is thawed");
	is(seen($other, 'state, thaw_failures > 0, retry_at IS NOT NULL'), 'thawing|t|t', "that it failed in $db is seen");
	$busy->query_safe('ROLLBACK');
	wait_until($node, 'SELECT count(*) = 0 FROM freeze_status');
	$busy->quit;
}

# --- while the scheduler has it --------------------------------------------

$busy = open_session($node, db => 'shop');
$id = freeze('shop', q{role('app', strategy => 'revoke', thaw_after => '1 s')});
$busy->query_safe('BEGIN');
$busy->query_safe('GRANT SELECT ON app.t1 TO agent');
wait_until($node, "SELECT state = 'thawing' FROM freeze_status WHERE id = $id");
my $thaw = start_sql($node, "SELECT * FROM thaw($id)");
wait_until($node, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pg_freeze worker' AND datname = 'shop'});
$busy->query_safe('ROLLBACK');
($state, undef, $err) = finish_sql($thaw);
like("$state $err", qr/^( $|55000 .*freeze $id is over.*thawed on schedule)/s, 'a thaw from elsewhere while the scheduler thaws: once, and it says so');
is(history('shop', $id, q{state, thaw_failures}), 'thawed|0', 'thawed');
is(seen('postgres', 'id'), '', 'and not seen any more');
same_privileges(privileges($node, db => 'shop'), $before{shop}, 'all privileges are back');
$busy->quit;

# --- who may ---------------------------------------------------------------

foreach my $db (qw(postgres shop))
{
	sql($node, q{
GRANT USAGE ON SCHEMA public TO PUBLIC;
GRANT EXECUTE ON FUNCTION freeze_role, thaw, thaw_role, thaw_label, thaw_all, freeze_extend TO reader;
GRANT EXECUTE ON FUNCTION thaw, thaw_role, thaw_label, thaw_all, freeze_extend TO other;
}, db => $db);
}
my $his = freeze('shop', q{role('agent', strategy => 'revoke', label => 'his')}, user => 'reader');
my $mine = freeze('shop', q{role('app', strategy => 'revoke')});
foreach my $call ("thaw($his)", "thaw($his, home => 'shop')", "thaw_role('agent')", q{thaw_label('his')}, "freeze_extend($his, '1 h')",
	"freeze_extend($his, '1 h', 'shop')")
{
	($state, undef, $err) = try_sql($node, "SELECT * FROM $call", user => 'other');
	is($state, '42501', "$call by somebody else");
	like($err, qr/freeze $his is not yours\n.*DETAIL:  It was made by reader in database shop/s, "$call: whose it is");
}
is(sql($node, 'SELECT count(*) FROM thaw_all()', user => 'other'), '0', 'thaw_all by somebody else');
isnt(sql($node, "SELECT freeze_extend($his, '1 h')", user => 'reader'), '', 'the owner may extend from elsewhere');
is(sql($node, 'SELECT id FROM thaw_all()', user => 'reader'), $his, 'thaw_all by the owner is for his own');
is(history('shop', $mine, 'state'), 'frozen', 'and for no other');
# the worker looks at the journal, whatever the caller could know
$his = freeze('shop', q{role('agent', strategy => 'revoke')}, user => 'reader');
sql($node, "UPDATE freeze_journal SET owner = 'app'::regrole, owner_name = 'app' WHERE id = $his", db => 'shop');
($state, undef, $err) = try_sql($node, "SELECT * FROM thaw($his)", user => 'reader');
is($state, '42501', 'the worker looks again who may');
sql($node, "UPDATE freeze_journal SET owner = 'reader'::regrole, owner_name = 'reader' WHERE id = $his", db => 'shop');
next_call($node, db => 'shop');
is(sql($node, "SELECT id FROM thaw($his)", user => 'reader'), $his, 'and lets the owner');
sql($node, 'REVOKE CONNECT ON DATABASE depot FROM PUBLIC');
($state, undef, $err) = try_sql($node, q{SELECT * FROM thaw(1, home => 'depot')}, user => 'reader');
is($state, '42501', 'nobody has a worker connect where he may not connect himself');
sql($node, 'GRANT CONNECT ON DATABASE depot TO PUBLIC');

sql($node, "SELECT * FROM thaw($mine)");

# --- what doesn't come to pass ---------------------------------------------

# A freeze that is not frozen is not seen for longer than it is made.
my $writer = open_session($node, db => 'shop', user => 'app');
$writer->query_safe('BEGIN; INSERT INTO app.writes (who) VALUES (0)');
my $call = start_sql($node, q{SELECT freeze_role('app', strategy => 'revoke', drain_timeout => '1 min')}, db => 'shop');
wait_until($node, q{SELECT state = 'draining' FROM freeze_status WHERE home = 'shop'});
like(seen('postgres', 'to_thaw'), qr/^SELECT pg_cancel_backend\(\d+\);$/, 'one that is being made is seen, with the statement that ends it');
($state, undef, $err) = try_sql($node, 'SELECT * FROM thaw(' . seen('postgres', 'id') . ')');
is($state, '55000', 'it can not be thawed');
like($err, qr/is not frozen yet\n/, 'yet');
sql($node, seen('postgres', 'to_thaw'));
is((finish_sql($call))[0], '57014', 'but cancelled');
is(seen('postgres', 'id'), '', 'and is not seen any more');
$writer->query_safe('ROLLBACK');
$writer->quit;

# No worker slot: the thaw is in the caller's transaction, and seen when that has committed.
sql($node, 'ALTER SYSTEM SET max_worker_processes = 8');
$node->restart;
$id = freeze('shop', q{role('app', strategy => 'revoke')});
$writer = open_session($node, db => 'depot', user => 'app');
$writer->query_safe('BEGIN; INSERT INTO app.writes (who) VALUES (0)');
# two launchers, the schedulers of shop and depot
my @fillers = fill_slots('depot', 4);
($state, undef, $err) = try_sql($node, "SELECT * FROM thaw($id)");
is($state, '53400', 'thaw from elsewhere without a worker slot');
like($err, qr/no background worker is free to thaw in database shop\n.*HINT:  Connect to it, where thawing needs none, and run SELECT \* FROM public\.thaw\($id\)/s, 'says where to run it');
is(seen('postgres', "count(*) FILTER (WHERE id = $id)"), '1', 'and the freeze is live');
my $session = open_session($node, db => 'shop');
foreach my $end ('ROLLBACK', 'ROLLBACK TO s; COMMIT')
{
	$session->query("BEGIN; SAVEPOINT s; SELECT * FROM thaw($id); $end");
	is(sql($node, "SELECT state FROM freeze_status WHERE id = $id AND home = 'shop'"), 'frozen', "thaw in the caller's transaction, $end: live");
}
$session->query("BEGIN; SAVEPOINT s; SELECT * FROM thaw($id); RELEASE s");
is(sql($node, "SELECT state FROM freeze_status WHERE id = $id AND home = 'shop'"), 'frozen', 'released and not committed: live');
$session->query('COMMIT');
is(sql($node, "SELECT count(*) FROM freeze_status WHERE id = $id AND home = 'shop'"), '0', 'committed: not any more');
like($session->{stderr}, qr/the thaw takes effect when this transaction commits/, 'and that was it');
$session->quit;
sql($node, q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = 'caller'});
finish_sql($_) foreach @fillers;
$writer->query_safe('ROLLBACK');
$writer->quit;
wait_until($node, 'SELECT count(*) = 0 FROM freeze_status');

# --- restart and crash -----------------------------------------------------

%two = (shop => freeze('shop', q{role('app', strategy => 'revoke', reason => 'restart')}),
	depot => freeze('depot', q{role('agent', strategy => 'revoke', thaw_after => '1 hour')}));
my $columns = 'id, target, mode, strategy, state, since, thaw_at, by, session_user_name, reason, changed, frozen_lsn, application, pid';
my $published = seen('postgres', $columns);
foreach my $how (qw(fast immediate crash))
{
	if ($how eq 'crash')
	{
		my $victim = open_session($node);
		my $at = log_size($node);
		kill_backend($victim->query_safe('SELECT pg_backend_pid()'));
		$node->wait_for_log(qr/database system is ready to accept connections/, $at);
		eval { $victim->quit };
	}
	else
	{
		$node->stop($how);
		$node->start;
	}
	wait_until($node, 'SELECT count(*) = 2 FROM freeze_status');
	is(seen('postgres', $columns), $published, "$how: the freezes are seen again");
}
is(sql($node, "SELECT count(*) FROM thaw_all()"), '2', 'and can be thawed');

# --- databases come and go -------------------------------------------------

$id = freeze('shop', q{role('app', strategy => 'revoke', thaw_after => '1 hour')});
sql($node, 'CREATE DATABASE copy TEMPLATE shop');
next_call($node, db => 'copy');
is(seen('postgres', q{id, home, remark ~ 'copied'}), "$id|copy|t\n$id|shop|f", 'a copy of a database has a copy of its freeze');
is(sql($node, q{SELECT id, target FROM thaw_role('app')}), "$id|role app", 'thaw by name is for the one that holds the role');
is(seen('postgres', 'home'), 'copy', 'the copy is left');
is(sql($node, "SELECT lost_reason FROM thaw($id, home => 'copy')"), 'this database is a copy; the freeze was made in another one', 'and can be thawed from elsewhere');
freeze('copy', q{role('app', strategy => 'revoke', thaw_after => '1 hour')});
is(seen('postgres', 'home'), 'copy', 'a freeze of its own');
sql($node, 'DROP DATABASE copy');
is(seen('postgres', 'home'), '', 'is not seen when the database is dropped');

# Undone by hand: the next look finds out.
$id = freeze('shop', q{role('app', strategy => 'revoke')});
sql($node, sql($node, "SELECT freeze_undo($id)", db => 'shop'), db => 'shop');
next_call($node, db => 'shop');
is(seen('postgres', 'id'), '', 'a freeze that was undone by hand is not seen after the next look');

# --- gates -----------------------------------------------------------------

$id = freeze('depot', q{database('shop', strategy => 'gate', thaw_after => '1 hour')});
is(seen('postgres', 'id, target, strategy, action, in_flight, in_force, home'), "$id|database shop|gate|wait|hold|t|depot", 'a gate of one database, made in another, seen from a third');
my $waiter = start_sql($node, 'INSERT INTO app.writes (who) VALUES (130)', db => 'shop', user => 'app');
wait_until($node, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = 'shop' AND usename = 'app' AND wait_event_type = 'Extension'});
is(sql($node, q{SELECT id, held FROM thaw_database('shop')}), "$id|t", 'thawed from the third');
is((finish_sql($waiter))[0], '', 'who waited goes on');
$id = freeze('depot', q{cluster(strategy => 'gate', thaw_after => '1 hour')});
$waiter = start_sql($node, 'INSERT INTO app.writes (who) VALUES (131)', db => 'shop', user => 'app');
wait_until($node, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = 'shop' AND usename = 'app' AND wait_event_type = 'Extension'});
is(sql($node, "SET pg_freeze.pass = '" . sql($node, "SELECT freeze_pass($id)", db => 'shop') . "'; INSERT INTO app.writes (who) VALUES (132) RETURNING who", db => 'shop', user => 'app'), '132',
	'freeze_pass from elsewhere');
is(seen('shop', 'waiters, exempt_commits'), '1|1', 'who waits and who has passed is seen');
sql($node, "SELECT freeze_alter($id, 'reject')", db => 'shop');
($state, undef, $err) = finish_sql($waiter);
is($state, '25006', 'freeze_alter from elsewhere');
is(seen('shop', 'action'), 'reject', 'and that is seen');
is(sql($node, 'SELECT id, held FROM thaw_cluster()', db => 'shop'), "$id|t", 'thaw_cluster from elsewhere');
is(writing($node, db => 'shop'), 'done', 'the application writes');

# The gate of a remote freeze is opened at once, worker or not.
$id = freeze('depot', q{database('shop', strategy => 'gate', thaw_after => '1 hour')});
$writer = open_session($node, db => 'third', user => 'app');
sql($node, 'CREATE TABLE mine (id int); GRANT INSERT ON mine TO app', db => 'third');
$writer->query_safe('BEGIN; INSERT INTO mine VALUES (0)');
# two launchers, the schedulers of depot and third, and that of copy, which sleeps
@fillers = fill_slots('third', 5);
($state, undef, $err) = try_sql($node, "SELECT * FROM thaw($id)");
is($state, '53400', 'thawing a gate from elsewhere without a worker slot');
like($err, qr/DETAIL:  What is by gate is open already; /, 'opens it');
is(writing($node, db => 'shop'), 'done', 'the application writes');
wait_until($node, "SELECT state = 'thawed' FROM freeze_journal WHERE id = $id", db => 'depot');
pass('and the scheduler there writes it down');
sql($node, q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = 'caller'});
finish_sql($_) foreach @fillers;
$writer->quit;

# --- without preload -------------------------------------------------------

$id = freeze('shop', q{role('app', strategy => 'revoke')});
my $here = freeze('depot', q{role('agent', strategy => 'revoke')});
$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "''");
$node->restart;
is(sql($node, 'SELECT id, home, remark FROM freeze_status', db => 'depot'), "$here|depot|freezes made in other databases are not shown", 'without preload: what is not shown');
($state, undef, $err) = try_sql($node, "SELECT * FROM thaw($id)", db => 'third');
is($state, '22023', 'without preload: thaw(id) from elsewhere');
like($err, qr/HINT:  .*A freeze is known where it was made/, 'says that');
is(sql($node, "SELECT id FROM thaw($id, home => 'shop')", db => 'third'), $id, 'without preload: with home it works');
sql($node, "SELECT * FROM thaw($here)", db => 'depot');
is(join(',', live($node, db => $_)), '', "$_: nothing is live") foreach qw(shop depot third);

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|XX000/, 'nothing strange is in the log');
done_testing();
