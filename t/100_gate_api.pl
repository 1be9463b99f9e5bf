# Strategy gate as its users see it: arguments, settings, messages at the doors,
# passes and exemptions, views, who may, and a thaw that is interrupted.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $TIME = qr/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[.\d]*[+-]\d\d/;
my $LSN = qr{[0-9A-F]+/[0-9A-F]+};

my $node = new_server('gate_api', conf => q{
shared_preload_libraries = 'pg_freeze'
log_statement = none
});
sql($node, q{
CREATE EXTENSION pg_freeze;
CREATE ROLE shop LOGIN;
CREATE ROLE clerk LOGIN IN ROLE shop;
CREATE ROLE keeper LOGIN;
CREATE ROLE ha LOGIN SUPERUSER;
CREATE ROLE oncall LOGIN;
CREATE ROLE other LOGIN;
CREATE DATABASE second OWNER oncall;
CREATE TABLE t (i int);
CREATE SEQUENCE s;
GRANT ALL ON t, s TO PUBLIC;
GRANT EXECUTE ON FUNCTION freeze_role, freeze_database, freeze_cluster, freeze_extend, freeze_alter, freeze_pass, thaw, thaw_all
	TO oncall, other;
});
sql($node, 'CREATE TABLE t (i int); GRANT ALL ON t TO PUBLIC', db => 'second');

# Freezes and returns the id and what was said.
sub freeze
{
	my ($call, %opt) = @_;
	my ($state, $out, $err) = try_sql($node, "SELECT $call", %opt);

	is($state, '', $call) or diag($err);
	return ($out =~ /(\d+)\s*\z/, $err);
}

sub thawed
{
	my ($id, %opt) = @_;
	return sql($node, "SELECT held FROM thaw($id)", %opt);
}

# The parts of an error, without times, LSNs and ids.
sub masked
{
	my ($err) = @_;
	my @lines = grep { /^(?:psql:[^\n]*?)?(?:ERROR|FATAL|NOTICE|WARNING|DETAIL|HINT):/ } split /\n/, $err;

	s/^psql:[^ ]* //, s/$TIME/TIME/g, s/$LSN/LSN/g, s/\b(freeze|Freeze|thaw\() ?\d+/$1 N/g, s/Process \d+/Process N/ foreach @lines;
	return join("\n", @lines);
}

sub refusal
{
	my ($statement, %opt) = @_;
	my (undef, undef, $err) = try_sql($node, $statement, %opt);

	return masked($err);
}

# Starts a statement and polls until it waits at a gate.
sub waiter
{
	my ($name, $statement, %opt) = @_;
	my $running = start_sql($node, "SET application_name = '$name'; $statement", user => 'shop', %opt);

	wait_until($node, "SELECT EXISTS (SELECT FROM freeze_waiters WHERE application = '$name')");
	return $running;
}

sub exempt
{
	my ($roles) = @_;

	$node->append_conf('postgresql.conf', "pg_freeze.exempt_roles = '$roles'");
	$node->reload;
	wait_until($node, "SELECT current_setting('pg_freeze.exempt_roles') = '$roles'");
}

# Polls, in a session, until somebody waits for the journal.
sub await_journal
{
	my ($session) = @_;
	my $end = time + $PostgreSQL::Test::Utils::timeout_default;

	while ($session->query(q{SELECT count(*) FROM pg_locks WHERE relation = 'freeze_journal'::regclass AND NOT granted}) == 0)
	{
		die 'nobody waits for the journal' if time > $end;
	}
	return;
}

# ---- what is chosen, and what is said ---------------------------------------

{
	my ($id, $said) = freeze("freeze_role('shop')");

	like($said, qr/NOTICE:  00000: \Qgate (auto: preloaded, stops nobody but the target): role shop is frozen in mode write as freeze $id, closed; \Enot scheduled to thaw, run SELECT \* FROM public\.thaw\($id\); leaks: none$/m,
		'auto picks gate for a role and says so in one line');
	is(sql($node, "SELECT why FROM freeze_status WHERE id = $id"), 'auto: preloaded, stops nobody but the target', 'and in the status');

	my $row = sql($node, "SELECT id, target, strategy, held, lost_reason, evidence, thawed_at >= frozen_at, thawed_lsn >= frozen_lsn, restored, skipped FROM thaw($id)");
	like($row, qr{^$id\|role shop\|gate\|t\|\|gate closed; 0 commits by exempt sessions, 0 waited, 0 refused, from $LSN to $LSN: nothing of the target was committed; leaks: none\|t\|t\|0\|0$},
		'the verdict');
}

foreach my $case (
	[ "freeze_database()", 'database postgres' ],
	[ "freeze_database('second')", 'database second' ],
	[ "freeze_cluster()", 'the cluster' ],
	[ "freeze_role('shop', mode => 'all', strategy => 'gate')", 'role shop' ])
{
	my ($call, $target) = @$case;
	my ($id, $said) = freeze($call);

	like($said, qr/: \Q$target\E is frozen in mode (?:write|all) as freeze $id, closed;/, "$call says what it closed");
	is(sql($node, "SELECT strategy, target, home, action, in_flight, in_force, state FROM freeze_status WHERE id = $id"),
		"gate|$target|postgres|wait|hold|t|frozen", 'and so does the status');
	is(thawed($id), 't', 'thawed');
}
like((freeze("freeze_schema('public')"))[1], qr/NOTICE: .*lock \(auto/, 'auto still picks lock for a schema');
is(sql($node, 'SELECT count(*) FROM thaw_all()'), '1', 'thawed');
is((try_sql($node, "SELECT freeze_schema('public', strategy => 'gate')"))[0], '22023', 'gate is not for schemas');
is(sql($node, "SELECT item, kind, object, detail FROM freeze_check('cluster') WHERE item <> 'session' ORDER BY item DESC"),
	"strategy|gate||auto: preloaded, stops nobody but the target\nchange|gate|the cluster|closed in shared memory", 'a dry run');
is(sql($node, 'SELECT count(*) FROM freeze_status'), '0', 'freezes nothing');

# ---- arguments and settings --------------------------------------------------

foreach my $case (
	[ '', '', 'wait|hold|00:01:00|00:00:05|00:00:02' ],
	[ '', ", action => 'reject'", 'reject|drain|00:01:00|00:00:05|00:00:02' ],
	[ '', ", in_flight => 'drain'", 'wait|drain|00:01:00|00:00:05|00:00:02' ],
	[ "SET pg_freeze.action = 'reject'; ", '', 'reject|drain|00:01:00|00:00:05|00:00:02' ],
	[ "SET pg_freeze.action = 'reject'; ", ", action => 'wait'", 'wait|hold|00:01:00|00:00:05|00:00:02' ],
	[ "SET pg_freeze.in_flight = 'hold'; ", ", action => 'reject'", 'reject|hold|00:01:00|00:00:05|00:00:02' ],
	[ "SET pg_freeze.in_flight = 'drain'; ", '', 'wait|drain|00:01:00|00:00:05|00:00:02' ],
	[ "SET pg_freeze.in_flight = 'drain'; ", ", in_flight => 'hold'", 'wait|hold|00:01:00|00:00:05|00:00:02' ],
	[ "SET pg_freeze.max_wait = 0; SET pg_freeze.notice_after = -1; SET pg_freeze.yield_after = -1; ", '', 'wait|hold|00:00:00||' ],
	[ "SET pg_freeze.max_wait = '90s'; SET pg_freeze.notice_after = 0; SET pg_freeze.yield_after = '10ms'; ", '', 'wait|hold|00:01:30|00:00:00|00:00:00.01' ])
{
	my ($set, $arguments, $stored) = @$case;
	my $id = sql($node, "${set}SELECT freeze_role('shop'$arguments)");

	is(sql($node, "SELECT action, in_flight, max_wait, notice_after, yield_after FROM freeze_journal WHERE id = $id"),
		$stored, "stored: ${set}freeze_role('shop'$arguments)");
	thawed($id);
}
foreach my $case ([ "action => 'kill'", 'action' ], [ "in_flight => 'shoot'", 'in_flight' ])
{
	my ($state, undef, $err) = try_sql($node, "SELECT freeze_role('shop', $case->[0])");

	is($state, '22023', "$case->[0] is refused");
	like($err, qr/invalid value for argument "$case->[1]"/, 'by name');
}

# ---- the doors' words --------------------------------------------------------

my $until = "SELECT freeze_role('shop', action => 'reject', thaw_after => '1 hour', reason => 'inventory')";
my $role = sql($node, $until);
is(refusal('INSERT INTO t VALUES (1)', user => 'shop'), join("\n",
	'ERROR:  25006: role shop is frozen, its sessions are read-only',
	'DETAIL:  Freeze N of database postgres, made by ' . sql($node, 'SELECT current_user') . ', in force since TIME, until TIME. Reason: inventory.',
	'HINT:  Try again after the thaw. Whoever may thaw it runs SELECT * FROM thaw( N);'), 'a refusal');
is((try_sql($node, 'INSERT INTO t VALUES (1)', user => 'clerk'))[0], '25006', 'of a member');
is((try_sql($node, "SELECT nextval('s')", user => 'shop'))[0], '25006', 'and of a sequence');
is((try_sql($node, 'INSERT INTO t VALUES (1)', user => 'shop', db => 'second'))[0], '25006', 'in another database');
is((try_sql($node, 'INSERT INTO t VALUES (1)', user => 'keeper'))[0], '', 'nobody else');
is(sql($node, 'SELECT count(*) >= 0 FROM t', user => 'shop'), 't', 'reads go on');
is(sql($node, "SELECT refused, waiters, exempt_commits FROM freeze_status WHERE id = $role"), '4|0|0', 'counted');
is(thawed($role), 't', 'and none of it was written');

my $database = sql($node, "SELECT freeze_database('second', action => 'reject')");
like(refusal('INSERT INTO t VALUES (1)', db => 'second'), qr/^ERROR:  25006: database second is frozen, its sessions are read-only\nDETAIL:  Freeze N of database postgres, made by \w+, in force since TIME, no deadline\.\nHINT/,
	'of a database, for superusers too');
is((try_sql($node, 'INSERT INTO t VALUES (1)'))[0], '', 'and only of that one');
thawed($database);

my $cluster = sql($node, "SELECT freeze_cluster(action => 'reject')");
like(refusal('CREATE TABLE x ()', db => 'second', user => 'ha'), qr/^ERROR:  25006: the cluster is frozen, its sessions are read-only\n/, 'of the cluster');
thawed($cluster);

my $all = sql($node, "SELECT freeze_role('shop', mode => 'all', action => 'reject')");
like(refusal('SELECT 1', user => 'shop'), qr/FATAL:  role shop is frozen, no login until it is thawed\nDETAIL:  Freeze N of database postgres, /, 'mode all lets nobody of the target in');
thawed($all);
{
	my $session = open_session($node, user => 'shop');

	$session->query('SELECT 1');
	$all = sql($node, "SELECT freeze_role('shop', mode => 'all', action => 'reject')");
	$session->query('\set VERBOSITY verbose');
	$session->query('SELECT count(*) FROM t');
	like(masked($session->{stderr}), qr/^ERROR:  55P03: role shop is frozen, nothing of it goes on\nDETAIL:  Freeze N of database postgres, made by \w+, in force since TIME, no deadline\.\nHINT/m,
		'mode all refuses reads');
	$session->{stderr} = '';
	thawed($all);
	is($session->query('SELECT 42'), '42', 'and the session is there after the thaw');
	$session->quit;
}

# ---- waiting -----------------------------------------------------------------

my $wait = sql($node, "SET pg_freeze.max_wait = '1200ms'; SET pg_freeze.notice_after = '300ms'; SELECT freeze_role('shop', reason => 'snapshot')");
{
	my ($state, undef, $err) = try_sql($node, 'INSERT INTO t VALUES (1)', user => 'shop');

	is($state, '55P03', 'who has waited for max_wait is refused');
	my $masked = masked($err);
	like($masked, qr/^NOTICE:  (?:00000: )?waiting, because role shop is frozen\nDETAIL:  Freeze N of database postgres, made by \w+, in force since TIME, no deadline\. Reason: snapshot\.\nERROR:  55P03: role shop is frozen, and this has waited for 1\.2 s\nDETAIL:  Freeze N [^\n]*\nHINT:  Try again after the thaw\./,
		'and was told after notice_after') or diag($err);
	is(sql($node, "SELECT refused, (SELECT waited FROM freeze_gate($wait)) FROM freeze_status WHERE id = $wait"), '1|1', 'counted');
	is(thawed($wait), 't', 'thawed');

	$wait = sql($node, "SET pg_freeze.notice_after = -1; SELECT freeze_role('shop')");
	foreach my $case (
		[ "SET statement_timeout = '200ms'; INSERT INTO t VALUES (1)", '57014', 'canceling statement due to statement timeout' ],
		[ "SET lock_timeout = '200ms'; INSERT INTO t VALUES (1)", '55P03', 'canceling statement due to lock timeout' ])
	{
		my ($statement, $expected, $text) = @$case;

		($state, undef, $err) = try_sql($node, $statement, user => 'shop');
		is($state, $expected, $statement);
		like($err, qr/\Q$text\E/, $text);
		unlike($err, qr/waiting, because/, 'no NOTICE with notice_after -1');
	}
}
is(sql($node, "SELECT refused, (SELECT waited FROM freeze_gate($wait)) FROM freeze_status WHERE id = $wait"), '0|2', 'these have not been refused');
is(thawed($wait), 't', 'thawed');

# in flight, held at the commit; the time-outs are the server's own there too
foreach my $case (
	[ 'statement_timeout', '57014', 'canceling statement due to statement timeout' ],
	[ 'lock_timeout', '55P03', 'canceling statement due to lock timeout' ])
{
	my ($setting, $expected, $text) = @$case;
	my $session = open_session($node, user => 'shop');
	my ($id, $said);

	$session->query('\set VERBOSITY verbose');
	$session->query("SET $setting = '1s'; BEGIN; INSERT INTO t VALUES (7)");
	($id, $said) = freeze("freeze_role('shop')");
	like($said, qr/, closed; 1 transaction in flight is held; not scheduled/, 'the NOTICE counts what it holds');
	$session->query('COMMIT');
	like($session->{stderr}, qr/ERROR:  $expected: \Q$text\E/, "$setting while waiting to commit");
	is(thawed($id), 't', 'thawed');
	$session->quit;
	is(sql($node, 'SELECT count(*) FROM t WHERE i = 7'), '0', 'and it was not committed');
}

# ---- who waits ---------------------------------------------------------------

{
	my $session = open_session($node, user => 'shop');
	my $pid = $session->query("SET application_name = 'held'; SELECT pg_backend_pid()");
	my $id;
	my @waiters;
	my $list = q{SELECT id, role, application, state, object, mode, rtrim(query, ';'), since <= clock_timestamp(), address IS NULL
		FROM freeze_waiters ORDER BY application};

	$session->query('BEGIN; INSERT INTO t VALUES (8)');
	$id = sql($node, "SELECT freeze_role('shop')");
	is(sql($node, $list), '', 'nobody waits at first');
	$session->query_until(qr/^/, "COMMIT;\n");
	push @waiters, waiter('writes', 'INSERT INTO t VALUES (8);'), waiter('elsewhere', 'INSERT INTO t VALUES (8);', db => 'second'),
	  waiter('advances', "SELECT nextval('s');");
	wait_until($node, 'SELECT count(*) = 4 FROM freeze_waiters');
	is(sql($node, $list), join("\n",
		"$id|shop|advances|active|function||SELECT nextval('s')|t|t",
		"$id|shop|elsewhere|active|statement||INSERT INTO t VALUES (8)|t|t",
		"$id|shop|held|active|commit||COMMIT|t|t",
		"$id|shop|writes|active|statement||INSERT INTO t VALUES (8)|t|t"), 'who waits, at which door, in whatever database');
	is(sql($node, "SELECT waiters, refused FROM freeze_status WHERE id = $id"), '4|0', 'counted in the status');
	is(sql($node, 'SELECT count(*), count(query) FROM freeze_waiters', user => 'other'), '4|0', 'queries are not for everybody');
	is(sql($node, 'SELECT count(*) FROM freeze_waiters w JOIN pg_stat_activity USING (pid) WHERE wait_event_type = $$Extension$$ AND ' .
			(sql($node, 'SHOW server_version_num') >= 170000 ? 'wait_event = $$PgFreezeGate$$' : 'true')), '4', 'they show a wait event');

	# two freezes of one target: each has its own waiters
	my $second = sql($node, "SELECT freeze_role('clerk')");
	is(sql($node, "SELECT string_agg(waiters::text, ',' ORDER BY id) FROM freeze_status"), '4,0', 'of each freeze its own');
	thawed($second);

	is(sql($node, "SELECT held, evidence ~ '; 0 commits by exempt sessions, 4 waited, 0 refused, ' FROM thaw($id)"), 't|t', 'thawed');
	is((finish_sql($_))[0], '', 'a waiter has gone on') foreach @waiters;
	$session->query('SELECT 1');
	$session->quit;
	is(sql($node, 'SELECT count(*) FROM t WHERE i = 8') . sql($node, 'SELECT count(*) FROM t WHERE i = 8', db => 'second'), '21', 'and all was written');
}

# ---- freeze_alter ------------------------------------------------------------

{
	my $id = sql($node, "SELECT freeze_role('shop')");
	my $waiting = waiter('altered', 'INSERT INTO t VALUES (9);');

	sql($node, "SELECT freeze_alter($id, action => 'reject')");
	my ($state, undef, $err) = finish_sql($waiting);
	is($state, '25006', 'who waits is refused at once');
	like($err, qr/role shop is frozen, its sessions are read-only/, 'with the words of a refusal');
	is((try_sql($node, 'INSERT INTO t VALUES (9)', user => 'shop'))[0], '25006', 'and so is who comes later');
	is(sql($node, "SELECT s.action, j.action, s.in_flight, s.state, s.refused FROM freeze_status s JOIN freeze_journal j USING (id) WHERE id = $id"),
		'reject|reject|hold|frozen|2', 'it is in the journal');
	ok($node->log_contains("freeze $id now has action reject, by"), 'and in the log');

	sql($node, "SELECT freeze_alter($id, 'wait')");
	$waiting = waiter('waits again', 'INSERT INTO t VALUES (9);');
	is((try_sql($node, "SELECT freeze_alter($id, 'hold')"))[0], '22023', 'not to anything');
	is((try_sql($node, "SELECT freeze_alter(424242, 'wait')"))[0], '22023', 'nor what is not there');
	is((try_sql($node, "BEGIN; CREATE TABLE y (); SELECT freeze_alter($id, 'wait')"))[0], '25001', 'nor in a transaction that writes');
	is(thawed($id), 't', 'thawed');
	is((finish_sql($waiting))[0], '', 'a waiter goes on');
	is((try_sql($node, "SELECT freeze_alter($id, 'reject')"))[0], '55000', 'nothing to alter after the thaw');
}

# The state file can't be written: what was changed in the journal only counts
# as soon as somebody looks.
{
	my $id = sql($node, "SELECT freeze_role('shop')");
	my $in_the_way = $node->data_dir . '/pg_freeze.gates.new';
	my $waiting = waiter('not yet refused', 'INSERT INTO t VALUES (9);');

	mkdir $in_the_way or die;
	my ($state, undef, $err) = try_sql($node, "SELECT freeze_alter($id, 'reject')");
	isnt($state, '', 'freeze_alter fails');
	like($err, qr/the state file of pg_freeze could not be written/, 'and says why');
	isnt((try_sql($node, "SELECT freeze_role('keeper')"))[0], '', 'no new freeze either');
	is(sql($node, "SELECT count(*) FROM freeze_status WHERE id <> $id"), '0', 'nor a part of one');
	is(sql($node, "SELECT waiters FROM freeze_status WHERE id = $id"), '1', 'who waits, waits on');
	rmdir $in_the_way or die;
	sql($node, "SELECT thaw(freeze_role('keeper'))");
	is((finish_sql($waiting))[0], '25006', 'the next call has him refused');
	is(thawed($id), 't', 'thawed');
}

# ---- passes and exempt roles -------------------------------------------------

{
	my $id = sql($node, "SELECT freeze_role('shop', action => 'reject')");
	my $other = sql($node, "SELECT freeze_role('clerk', action => 'reject')");
	my $pass = sql($node, "SELECT freeze_pass($id)");
	my $others = sql($node, "SELECT freeze_pass($other)");

	like($pass, qr/^[0-9a-f]{32}$/, 'a pass');
	is(sql($node, "SELECT freeze_pass($id)"), $pass, 'is the same each time');
	isnt($pass, $others, 'and each freeze has its own');
	is((try_sql($node, "SET pg_freeze.pass = '$pass'; INSERT INTO t VALUES (10)", user => 'shop'))[0], '', 'it lets through');
	is((try_sql($node, "SET pg_freeze.pass = '$pass'; RESET pg_freeze.pass; INSERT INTO t VALUES (10)", user => 'shop'))[0], '25006', 'while it is set');
	is((try_sql($node, "SET pg_freeze.pass = '$others'; INSERT INTO t VALUES (10)", user => 'shop'))[0], '25006', 'another one does not');
	is((try_sql($node, "SET pg_freeze.pass = ''; INSERT INTO t VALUES (10)", user => 'shop'))[0], '25006', 'nor none');
	is((try_sql($node, "SET pg_freeze.pass = '" . substr($pass, 0, 31) . "'; INSERT INTO t VALUES (10)", user => 'shop'))[0], '25006', 'nor a part of it');
	is((try_sql($node, "SET pg_freeze.pass = '$pass'; INSERT INTO t VALUES (10)", user => 'clerk'))[0], '25006', 'nor through another freeze');
	is((try_sql($node, "SET pg_freeze.pass = '$pass'; SHOW pg_freeze.pass", user => 'shop'))[0], '42501', 'it is not shown');
	is(sql($node, "SELECT count(*) FROM pg_settings WHERE name = 'pg_freeze.pass'"), '0', 'nor listed');
	is(sql($node, "SELECT exempt_commits FROM freeze_status WHERE id = $id"), '1', 'a commit by pass is counted');
	is(sql($node, "SELECT held, evidence ~ '; 1 commits by exempt sessions, ' FROM thaw($id)"), 't|t', 'and in the verdict');
	thawed($other);
	is((try_sql($node, "SELECT freeze_pass($id)"))[0], '55000', 'no pass after the thaw');
	is((try_sql($node, "SET pg_freeze.pass = '$pass'; INSERT INTO t VALUES (10)", user => 'shop'))[0], '', 'an old one does no harm');
}

{
	my $id = sql($node, "SELECT freeze_cluster(action => 'reject')");
	my $session = open_session($node, user => 'clerk');

	$session->query('\set VERBOSITY verbose');
	$session->query('INSERT INTO t VALUES (11)');
	like($session->{stderr}, qr/25006/, 'frozen');
	$session->{stderr} = '';
	# ALTER SYSTEM would be a write
	exempt('ha, "clerk"');
	my $end = time + $PostgreSQL::Test::Utils::timeout_default;
	do
	{
		$session->{stderr} = '';
		$session->query('INSERT INTO t VALUES (11)');
	} while ($session->{stderr} ne '' && time < $end);
	is($session->{stderr}, '', 'a session that was there is exempt after the reload');
	is((try_sql($node, 'INSERT INTO t VALUES (12)', user => 'ha'))[0], '', 'another one of the list too');
	is((try_sql($node, 'INSERT INTO t VALUES (12)', user => 'shop'))[0], '25006', 'others are not');
	is((try_sql($node, 'SET ROLE clerk; INSERT INTO t VALUES (12)'))[0], '25006', 'who is it by SET ROLE only is not');
	is((try_sql($node, 'SET ROLE keeper; INSERT INTO t VALUES (12)', user => 'ha'))[0], '', 'who has logged in as it is');
	is(sql($node, "SELECT exempt_commits FROM freeze_status WHERE id = $id"), '3', 'counted');
	is(sql($node, "SELECT held FROM thaw($id)"), 't', 'which breaks nothing');
	$session->quit;

	# exempt beats frozen
	$id = sql($node, "SELECT freeze_role('clerk', action => 'reject')");
	is((try_sql($node, 'INSERT INTO t VALUES (13)', user => 'clerk'))[0], '', 'exempt beats frozen');
	thawed($id);

	my $from = log_size($node);
	$node->append_conf('postgresql.conf', q{pg_freeze.exempt_roles = 'a b'});
	$node->reload;
	$node->wait_for_log(qr/invalid value for parameter "pg_freeze.exempt_roles": "a b"/, $from);
	is(sql($node, 'SHOW pg_freeze.exempt_roles'), 'ha, "clerk"', 'a bad list is refused and the old one stays');
	exempt('');
}

# a waiter in the way of who may pass
{
	my $id = sql($node, "SET pg_freeze.yield_after = '300ms'; SELECT freeze_role('shop')");
	my $waiting = waiter('in the way', 'INSERT INTO t VALUES (14);');
	my $ddl = start_sql($node, 'ALTER TABLE t ADD COLUMN j int;');
	my ($state, undef, $err) = finish_sql($waiting);

	is($state, '55P03', 'a waiter in the way of somebody who is not frozen is refused');
	like(masked($err), qr/^ERROR:  55P03: role shop is frozen, and this transaction is in the way of a session that is not\nDETAIL:  Process N waits for a lock of it\. Freeze N /, 'and told why');
	is((finish_sql($ddl))[0], '', 'who goes on');
	thawed($id);

	$id = sql($node, "SET pg_freeze.yield_after = -1; SET pg_freeze.max_wait = 0; SELECT freeze_role('shop')");
	$waiting = waiter('not in the way', 'INSERT INTO t VALUES (14);');
	($state, undef, $err) = try_sql($node, "SET lock_timeout = '2s'; ALTER TABLE t ADD COLUMN k int");
	is($state, '55P03', 'unless yield_after is -1');
	is(sql($node, "SELECT waiters FROM freeze_status WHERE id = $id"), '1', 'it waits on');
	thawed($id);
	is((finish_sql($waiting))[0], '', 'and goes on');
}

# ---- draining ----------------------------------------------------------------

{
	my $writer = open_session($node, user => 'clerk', db => 'second');
	my $reader = open_session($node, user => 'shop');

	$reader->query('BEGIN; SELECT count(*) FROM t');
	$writer->query("SET application_name = 'inside'; BEGIN; INSERT INTO t VALUES (15)");
	is(sql($node, "SELECT item, kind, detail FROM freeze_check('role', 'shop', action => 'reject') WHERE item = 'blocker'"),
		'blocker|session|clerk: in a transaction that has written, holds RowExclusiveLock on relation ' .
		sql($node, q{SELECT 't'::regclass::oid}, db => 'second') . ' of another database', 'a dry run says who is in flight');
	is(sql($node, "SELECT count(*) FROM freeze_check('role', 'shop') WHERE item = 'blocker'"), '0', 'if it is drained, not held');
	my ($state, undef, $err) = try_sql($node, "SELECT freeze_role('shop', action => 'reject', drain_timeout => '300ms')");
	is($state, '55P03', 'who has written in another database keeps the drain from ending');
	like($err, qr/role shop could not be frozen: 1 session did not finish within 300 ms/, 'which says so');
	like($err, qr/In flight: session \d+ of role clerk \(inside\), idle in transaction since $TIME: in a transaction that has written, holds RowExclusiveLock on relation \d+ of another database\./,
		'and names him');
	is(sql($node, 'SELECT count(*) FROM freeze_status'), '0', 'nothing stays frozen');
	is((try_sql($node, 'INSERT INTO t VALUES (15)', user => 'shop'))[0], '', 'and the role writes');

	my $freezing = start_sql($node, "SELECT freeze_role('shop', action => 'reject', drain_timeout => '1 min');");
	wait_until($node, 'SELECT count(*) = 1 FROM freeze_blockers');
	is(sql($node, 'SELECT role, application, gid, what ~ $$in a transaction that has written$$ FROM freeze_blockers'), 'clerk|inside||t', 'freeze_blockers');
	is(sql($node, 'SELECT state, action, in_flight FROM freeze_status'), 'draining|reject|drain', 'freeze_status');
	is((try_sql($node, 'INSERT INTO t VALUES (16)', user => 'shop'))[0], '25006', 'no new transaction gets in');
	$writer->query('INSERT INTO t VALUES (16)');
	$writer->query('COMMIT');
	is($writer->{stderr}, '', 'who was inside finishes');
	my ($done, $id) = finish_sql($freezing);
	is($done, '', 'then it is frozen');
	is((try_sql($node, 'INSERT INTO t VALUES (16)', user => 'clerk', db => 'second'))[0], '25006', 'for everybody');
	thawed($id);

	# a prepared transaction
	sql($node, q{BEGIN; INSERT INTO t VALUES (17); PREPARE TRANSACTION 'ready'}, user => 'shop', db => 'second');
	($state, undef, $err) = try_sql($node, "SELECT freeze_role('shop', in_flight => 'drain', drain_timeout => '0')");
	is($state, '55P03', 'so does a prepared transaction');
	like($err, qr/In flight: prepared transaction 'ready' of role shop since $TIME: prepared\./, 'which is named');
	sql($node, q{ROLLBACK PREPARED 'ready'}, db => 'second');

	# who waits at the door has locked the table already, and is not inside
	$writer->query('BEGIN; INSERT INTO t VALUES (18)');
	$freezing = start_sql($node, "SELECT freeze_role('shop', in_flight => 'drain', drain_timeout => '1 min');");
	wait_until($node, 'SELECT count(*) = 1 FROM freeze_blockers');
	my $waiting = waiter('outside', 'INSERT INTO t VALUES (18);');
	is(sql($node, q{SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass AND mode = 'RowExclusiveLock' AND granted}), '1', 'a waiter has its locks');
	$writer->query('COMMIT');
	($done, $id) = finish_sql($freezing);
	is($done, '', 'and does not keep the drain from ending');
	my $other = sql($node, "SELECT freeze_role('shop', in_flight => 'drain', drain_timeout => '0')");
	pass('nor that of a second freeze, though it was there before');
	thawed($_) foreach $other, $id;
	is((finish_sql($waiting))[0], '', 'it goes on after the last thaw');

	# nor does who is exempt
	exempt('clerk');
	$writer->query('BEGIN; INSERT INTO t VALUES (18)');
	$id = sql($node, "SELECT freeze_role('shop', in_flight => 'drain', drain_timeout => '0')");
	$writer->query('COMMIT');
	is($writer->{stderr}, '', 'who is exempt is not waited for');
	thawed($id);
	exempt('');

	# mode all waits for statements, too
	my $busy = start_sql($node, "SET application_name = 'busy'; SELECT pg_sleep(1000);", user => 'shop');
	wait_until($node, q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'busy' AND wait_event = 'PgSleep')});
	($state, undef, $err) = try_sql($node, "SELECT freeze_role('shop', mode => 'all', in_flight => 'drain', drain_timeout => '0')");
	is($state, '55P03', 'mode all waits for statements');
	like($err, qr/In flight: session \d+ of role shop \(busy\), active since $TIME: in a statement\./, 'and for nobody who does nothing');
	$id = sql($node, "SELECT freeze_role('shop', in_flight => 'drain', drain_timeout => '0')");
	thawed($id);
	sql($node, q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'busy'});
	is((finish_sql($busy))[0], '57014', 'mode write leaves them alone');

	# the ladder
	$writer->query('BEGIN; INSERT INTO t VALUES (18)');
	$id = sql($node, "SELECT freeze_role('shop', action => 'reject', drain_timeout => '0', on_drain_timeout => 'terminate')");
	is(sql($node, "SELECT terminated FROM freeze_status WHERE id = $id"), '1', 'asked for, he is terminated');
	$reader->query('SELECT 1');
	is($reader->{stderr}, '', 'readers are left alone');
	thawed($id);
	eval { $writer->quit };
	$reader->query('COMMIT');
	$reader->quit;
}

# ---- who may -----------------------------------------------------------------

{
	my $mine = sql($node, "SELECT freeze_role('shop', action => 'reject')", user => 'oncall');

	foreach my $call ("freeze_pass($mine)", "freeze_alter($mine, 'wait')", "freeze_extend($mine, '1 hour')", "thaw($mine)")
	{
		my ($state, undef, $err) = try_sql($node, "SELECT $call", user => 'other');

		is($state, '42501', "$call is not for others");
		like($err, qr/freeze $mine is not yours/, 'who are told so');
	}
	is((try_sql($node, 'INSERT INTO t VALUES (19)', user => 'shop'))[0], '25006', 'it is frozen all the while');
	is(sql($node, 'SELECT count(*) FROM thaw_all()', user => 'other'), '0', 'thaw_all is for one\'s own');
	like(sql($node, "SELECT freeze_pass($mine)", user => 'oncall'), qr/^[0-9a-f]{32}$/, 'the owner has its pass');
	sql($node, "SELECT freeze_alter($mine, 'wait')", user => 'oncall');
	is(thawed($mine, user => 'oncall'), 't', 'and thaws it');

	foreach my $case (
		[ 'freeze_cluster()', 'other', 'only a superuser may freeze the cluster' ],
		[ "freeze_database('second')", 'other', 'only a superuser or its owner may freeze a database from another one' ],
		[ "freeze_database(mode => 'all')", 'other', 'only a superuser may freeze a database in mode all' ],
		[ "freeze_role('ha')", 'other', 'only a superuser may freeze a superuser' ],
		[ "freeze_role('other')", 'other', 'you would freeze yourself' ])
	{
		my ($call, $user, $text) = @$case;
		my ($state, undef, $err) = try_sql($node, "SELECT $call", user => $user);

		is($state, '42501', "$user: $call");
		like($err, qr/\Q$text\E/, $text);
	}
	my $owned = sql($node, "SELECT freeze_database('second', action => 'reject')", user => 'oncall');
	is((try_sql($node, 'INSERT INTO t VALUES (19)', db => 'second'))[0], '25006', 'its owner freezes a database from another one');
	is(thawed($owned, user => 'oncall'), 't', 'and thaws it');
}

# ---- a thaw that is refused or interrupted -----------------------------------

{
	my $id = sql($node, "SELECT freeze_role('shop', action => 'reject')");

	is((try_sql($node, "BEGIN; CREATE TABLE z (); SELECT thaw($id)"))[0], '25001', 'no thaw in a transaction that has written');
	is((try_sql($node, 'INSERT INTO t VALUES (20)', user => 'shop'))[0], '25006', 'and the gate is still closed');
	is((try_sql($node, 'SELECT thaw(NULL)'))[0], '22023', 'no thaw of nothing');
	is(sql($node, "SELECT extract(epoch FROM freeze_extend($id, '1 hour') - now())::int"), '3600', 'a deadline');
	like(refusal('INSERT INTO t VALUES (20)', user => 'shop'), qr/, until TIME\./, 'which who is refused is told');
	is(thawed($id), 't', 'thawed');
	my ($state, undef, $err) = try_sql($node, "SELECT thaw($id)");
	is($state, '55000', 'once');
	like($err, qr/freeze $id is over/, 'when and why it was thawed is said');
}

# Not even the journal can be read.
{
	my $id = sql($node, "SELECT freeze_role('shop')", user => 'oncall');
	my $waiting = waiter('let go', 'INSERT INTO t VALUES (20);');
	my $locker = open_session($node);

	$locker->query('BEGIN; LOCK TABLE freeze_journal');
	my $thawing = start_sql($node, "SELECT held FROM thaw($id);", user => 'oncall');
	is((finish_sql($waiting))[0], '', 'the gate opens before the journal is read');
	await_journal($locker);
	pass('which takes longer');
	$locker->query('ROLLBACK');
	is((finish_sql($thawing))[1], 't', 'the verdict is the same');
	$id = sql($node, "SELECT freeze_role('shop', action => 'reject')");
	$locker->query('BEGIN; LOCK TABLE freeze_journal');
	$thawing = start_sql($node, "SELECT held FROM thaw($id);", user => 'oncall');
	await_journal($locker);
	is((try_sql($node, 'INSERT INTO t VALUES (20)', user => 'shop'))[0], '25006', 'not for who is not the owner');
	$locker->query('ROLLBACK');
	is((finish_sql($thawing))[0], '42501', 'who is refused then');
	thawed($id);
	$locker->quit;
}

# The postmaster stands still, so that no worker comes: the gate is open all the
# same, and what is left is done whoever asked for it goes away.
foreach my $how (qw(cancel terminate))
{
	my $id = sql($node, "SELECT freeze_role('shop')");
	my $waiting = waiter('interrupted', 'INSERT INTO t VALUES (21);');
	my $control = open_session($node);
	my $thawing = open_session($node);
	my $pid = $thawing->query('SELECT pg_backend_pid()');
	my $postmaster = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
	my $end = time + $PostgreSQL::Test::Utils::timeout_default;
	my $phase;

	kill 'STOP', $postmaster;
	$thawing->query_until(qr/^/, "SELECT held FROM thaw($id);\n");
	do { $phase = $control->query("SELECT phase FROM freeze_gate($id)") } while ($phase ne 'open' && time < $end);
	is($phase, 'open', "the gate is open before a worker is there ($how)");
	is((finish_sql($waiting))[0], '', 'and who waited has gone on');
	is($control->query("SELECT state, in_force FROM freeze_status WHERE id = $id"), 'thawing|', 'the status says that it is thawing');
	is($control->query("SELECT state FROM freeze_journal WHERE id = $id"), 'frozen', 'which the journal does not know yet');
	$control->query("SELECT pg_${how}_backend($pid)");
	kill 'CONT', $postmaster;
	if ($how eq 'cancel')
	{
		is($thawing->query('SELECT 1'), "t\n1", 'a cancel comes too late');
		like($thawing->{stderr}, qr/the cancel came too late: the work is done/, 'and is told so');
	}
	wait_until($node, "SELECT state = 'thawed' FROM freeze_journal WHERE id = $id");
	is(sql($node, "SELECT held FROM freeze_history WHERE id = $id"), 't', 'it is written down, with its verdict');
	is(sql($node, "SELECT count(*) FROM freeze_gate($id)"), '0', 'and the gate is forgotten');
	$control->quit;
	eval { $thawing->quit };
}

# The scheduler comes before the worker of who asked.
{
	my $thawing = open_session($node);
	my $postmaster = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
	my $control = open_session($node);
	my $id = sql($node, "SELECT freeze_role('shop', thaw_after => '3 s')");
	my $end = time + $PostgreSQL::Test::Utils::timeout_default;
	my $state;

	kill 'STOP', $postmaster;
	$thawing->query_until(qr/^/, "SELECT id, held, evidence ~ '^gate closed; ', restored FROM thaw($id);\n");
	do { $state = $control->query("SELECT state || ' ' || end_reason FROM freeze_journal WHERE id = $id") }
		while ($state !~ /^thawed/ && time < $end);
	like($state, qr/^thawed thawed on schedule/, 'the scheduler thaws');
	kill 'CONT', $postmaster;
	is($thawing->query('SELECT 1'), "$id|t|t|0\n1", 'who asked for it gets the verdict all the same');
	$_->quit foreach $thawing, $control;
}

# ---- on paper ----------------------------------------------------------------

{
	my $id = sql($node, "SELECT freeze_role('shop', action => 'reject')");
	my @lines = split /\n/, sql($node, "SELECT * FROM freeze_undo($id)");

	is($lines[0], '-- no SQL opens a gate: first create the file ' . $node->data_dir . '/pg_freeze.open and reload the server, which opens every gate of it',
		'freeze_undo says which file opens a gate');
	is((try_sql($node, 'INSERT INTO t VALUES (22)', user => 'shop'))[0], '25006', 'frozen');
	append_to_file($node->data_dir . '/pg_freeze.open', '');
	$node->reload;
	my $end = time + $PostgreSQL::Test::Utils::timeout_default;
	my $state;
	do { ($state) = try_sql($node, 'INSERT INTO t VALUES (22)', user => 'shop') } while ($state ne '' && time < $end);
	is($state, '', 'it does');
	sql($node, join("\n", @lines));
	is(sql($node, "SELECT count(*) FROM freeze_status"), '0', 'and the statements clear the journal');
}
$node->stop;

# ---- the HINT is one that can be followed ------------------------------------

{
	my $plain = new_server('gate_hint', conf => "shared_preload_libraries = '\$libdir/plpgsql'\n");

	sql($plain, 'CREATE EXTENSION pg_freeze; CREATE ROLE shop LOGIN');
	my ($state, undef, $err) = try_sql($plain, "SELECT freeze_role('shop', strategy => 'gate')");
	is($state, '55000', 'not preloaded');
	like($err, qr/strategy gate needs pg_freeze in shared_preload_libraries/, 'is said');
	my ($statement) = $err =~ /HINT:  Add it, for example: (ALTER SYSTEM SET .*;) and restart the server\./;
	ok(defined $statement, 'with the statement to run') or diag($err);
	sql($plain, $statement);
	$plain->restart;
	like(sql($plain, 'SHOW shared_preload_libraries'), qr/plpgsql.*pg_freeze/, 'it keeps what was there');
	my $id = sql($plain, "SELECT freeze_role('shop', strategy => 'gate')");
	is(sql($plain, "SELECT strategy, held FROM thaw($id)"), 'gate|t', 'and gate works');
	$plain->stop;
}

done_testing();
