# Races: a freeze, a thaw or a deadline against writers, GRANT, DDL, prepared
# transactions and each other, each won by either side; and the transaction of
# the caller.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main');
make_application($node, tables => 6);
sql($node, q{
CREATE ROLE slow;
CREATE TABLE other.slow (a int);
GRANT INSERT ON other.slow TO slow;
-- a GRANT and its REVOKE later leave what they leave here
GRANT DELETE ON app.t2 TO reader;
REVOKE DELETE ON app.t2 FROM reader;
});
my $before = privileges($node);
my $revoke = q{strategy => 'revoke'};
my $writer = open_session($node, user => 'app');
my $third = open_session($node);

sub freeze_app { return "SELECT freeze_role('app', $revoke, drain_timeout => '$_[0]');"; }
sub state_is { return "SELECT EXISTS (SELECT FROM freeze_journal WHERE state = '$_[0]')"; }
sub field { return sql($node, "SELECT $_[1] FROM freeze_journal WHERE id = $_[0]"); }

# Nothing is live, and every privilege is as it was.
sub all_is_back
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is(join(',', live($node)), '', "$what: nothing is frozen");
	same_privileges(privileges($node), $before, "$what: all privileges are as they were");
	return;
}

# A call that may lose, but only in these ways.
sub lost_well
{
	my ($call, $expected, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($state, $out, $err) = finish_sql($call);

	like($state, $expected, $what) or diag($err);
	return ($state, $out, $err);
}

# --- a thaw that cannot be completed: goes on beside the rest, as it takes long ---

my $slow = sql($node, "SELECT freeze_role('slow', $revoke)");
my $holder = open_session($node);
$holder->query_safe('BEGIN; GRANT SELECT ON other.slow TO reader;');
my $slow_thaw = start_sql($node, "SELECT * FROM thaw($slow);", user => 'caller');
wait_until($node, "SELECT state = 'thawing' FROM freeze_journal WHERE id = $slow");

# --- drain ----------------------------------------------------------------

$writer->query_safe('BEGIN; INSERT INTO app.writes (who) VALUES (1);');
my $call = start_sql($node, freeze_app('1 hour'));
wait_until($node, state_is('draining'));
like(sql($node, q{SELECT role, what FROM freeze_blockers}),
	qr/^app\|in a transaction that has written, holds RowExclusiveLock on app.writes/, 'the writer is the blocker');
my ($refused) = try_sql($node, 'INSERT INTO app.writes (who) VALUES (2)', user => 'app');
is($refused, '42501', 'the door is closed while another writer finishes');
$writer->query_safe('COMMIT;');
my ($state, $id, $err) = finish_sql($call);
is($state, '', 'a drain ends when the writer commits') or diag($err);
is(sql($node, 'SELECT string_agg(who::text, $$,$$ ORDER BY who) FROM app.writes'), '1', 'and what he wrote is there');
sql($node, "SELECT thaw($id)");

# --- prepared transactions ------------------------------------------------

sql($node, q{BEGIN; INSERT INTO app.writes (who) VALUES (4); PREPARE TRANSACTION 'race';}, user => 'app');
# without patience, and with the slow thaw in its way now and then
my $tries = 0;
do { ($state, undef, $err) = try_sql($node, freeze_app('0')) } while ($err =~ /another freeze or thaw is changing privileges/ && ++$tries < 100);
is($state, '55P03', 'a prepared transaction holds up a freeze');
like($err, qr/prepared transaction 'race' of role app/, 'and is named');
$call = start_sql($node, freeze_app('1 hour'));
wait_until($node, state_is('draining'));
sql($node, q{COMMIT PREPARED 'race'});
($state, $id, $err) = finish_sql($call);
is($state, '', 'until it is committed') or diag($err);
sql($node, "SELECT thaw($id)");

# --- GRANT in an open transaction, while freezing -------------------------

$third->query_safe('BEGIN; GRANT DELETE ON app.t2 TO reader; GRANT DELETE ON other.t2 TO app;');
($state, undef, $err) = try_sql($node, freeze_app('200 ms'));
is($state, '55P03', 'a GRANT in an open transaction outlasts drain_timeout');
unlike($err, qr/tuple|XX000/, 'and no word of tuples') or diag($err);
$call = start_sql($node, freeze_app('1 hour'));
wait_until($node, state_is('engaging'));

# neither thawed nor put off, while it is being made
my $made = sql($node, q{SELECT id FROM freeze_journal WHERE state = 'engaging'});
foreach my $statement ("SELECT thaw($made)", q{SELECT thaw_role('app')}, "SELECT freeze_extend($made, '1 hour')")
{
	($state, undef, $err) = try_sql($node, $statement);
	is($state, '55000', "$statement of a freeze that is being made");
	like($err, qr/freeze $made is not frozen yet/, 'says so');
}

$third->query_safe('COMMIT;');
($state, $id, $err) = finish_sql($call);
is($state, '', 'one that commits in time does not') or diag($err);
is($id, $made, 'the freeze that waited is the one');
is(sql($node, q{SELECT has_table_privilege('app', 'other.t2', 'DELETE'), has_table_privilege('reader', 'app.t2', 'DELETE')}),
	'f|t', 'what was granted to the role meanwhile is taken, what to others stays');
sql($node, "SELECT thaw($id)");
is(sql($node, q{SELECT has_table_privilege('app', 'other.t2', 'DELETE'), has_table_privilege('reader', 'app.t2', 'DELETE')}),
	't|t', 'and comes back');
sql($node, 'REVOKE DELETE ON app.t2 FROM reader; REVOKE DELETE ON other.t2 FROM app;');

# --- several freeze at once -----------------------------------------------

# Who waits for the same row goes on at the same moment.
foreach my $patience ('1 hour', '0')
{
	$third->query_safe('BEGIN; GRANT DELETE ON app.t4 TO reader;');
	my @calls = map { start_sql($node, $_) } (freeze_app($patience)) x 2,
	  "SELECT freeze_schema('app', $revoke, drain_timeout => '$patience');",
	  "SELECT freeze_role('reader', 'all', $revoke, drain_timeout => '$patience');";
	wait_until($node, q{SELECT count(*) = 4 FROM freeze_journal WHERE state = 'engaging'}) if $patience ne '0';
	$third->query_safe('ROLLBACK;');
	my @states = map { (lost_well($_, qr/^(|55P03)$/, "one of four freezes at once, drain_timeout $patience"))[0] } @calls;
	is(join('', @states), '', 'all of them win where there is time') if $patience ne '0';
	is(join(',', live($node)), sql($node, q{SELECT string_agg(id::text, ',' ORDER BY id) FROM freeze_status WHERE in_force OR state = 'thawing'}),
		'those that won are in force');
	sql($node, "SELECT * FROM thaw_role('$_', force => true)")
	  foreach split /\n/, sql($node, q{SELECT DISTINCT target_name FROM freeze_journal WHERE state = 'frozen' AND target_kind = 'role'});
	sql($node, q{SELECT thaw_schema('app')}) if sql($node, q{SELECT count(*) FROM freeze_status WHERE target = 'schema app'});
	is(join(',', live($node)), $slow, 'all are thawed');
}

# --- GRANT and DDL in an open transaction, while thawing ------------------

foreach my $change ('GRANT DELETE ON app.t2 TO reader', 'ALTER TABLE app.t2 ADD COLUMN more int')
{
	$id = sql($node, freeze_app('5 s'));
	$third->query_safe("BEGIN; $change;");
	my @thaws = map { start_sql($node, "SELECT restored > 0, skipped FROM thaw($id);", user => 'caller') } 1 .. 2;
	wait_until($node, "SELECT state = 'thawing' FROM freeze_journal WHERE id = $id");
	wait_until($node, q{SELECT count(*) = 2 FROM pg_stat_activity WHERE usename = 'caller' AND query ~ '> 0'});
	my $extend = start_sql($node, "SELECT freeze_extend($id, '1 hour');", user => 'caller');
	wait_until($node, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE usename = 'caller' AND query ~ 'extend'});
	$third->query_safe('COMMIT;');
	my @results = map { [ finish_sql($_) ] } @thaws;
	is(join(',', sort map { $_->[0] } @results), ',55000', "of two thaws during $change one does it")
	  or diag(map { $_->[2] } @results);
	is((finish_sql($extend))[0], '55000', 'what is being thawed is not put off');
	like(join('', map { $_->[1] } @results), qr/^t\|0$/, 'and puts everything back');
	like(join('', map { $_->[2] } @results), qr/freeze $id is over/, 'the other says that it is over');
	is(sql($node, q{SELECT has_table_privilege('app', 'app.t2', 'INSERT')}), 't', 'the role may write there');
	sql($node, 'REVOKE DELETE ON app.t2 FROM reader; ALTER TABLE app.t2 DROP COLUMN IF EXISTS more;');
}

# --- deadlines ------------------------------------------------------------

# Put off at about the time it is due: one of the two, never a bit of both.
my %won = (extended => 0, thawed => 0);
foreach my $early (-20, 0, 5, 10, 20, 40, 80)
{
	$id = sql($node, "SELECT freeze_role('agent', $revoke, thaw_after => '300 ms')");
	($state, undef, $err) = try_sql($node,
		"SELECT pg_sleep_until(thaw_at - interval '$early ms') FROM freeze_status WHERE id = $id; SELECT freeze_extend($id, '1 hour')");
	if ($state eq '')
	{
		$won{extended}++;
		is(field($id, q{state, thaw_at > now() + interval '50 minutes'}), 'frozen|t', 'extended: stays frozen');
		is(sql($node, "SELECT in_force FROM freeze_status WHERE id = $id"), 't', 'and in force');
		sql($node, "SELECT thaw($id)");
	}
	else
	{
		$won{thawed}++;
		is($state, '55000', 'too late: refused') or diag($err);
		wait_until($node, "SELECT state = 'thawed' FROM freeze_journal WHERE id = $id");
	}
}
note("extended $won{extended}, thawed $won{thawed}");

# --- the transaction of the caller ----------------------------------------

foreach my $begin ('BEGIN ISOLATION LEVEL REPEATABLE READ', 'BEGIN ISOLATION LEVEL SERIALIZABLE', 'BEGIN READ ONLY',
	'BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE', 'SET default_transaction_read_only = on; BEGIN')
{
	# the snapshot is older than the freeze
	($state, my $out, $err) = try_sql($node, qq{$begin; SELECT count(*) > 0 FROM app.writes;
		SELECT freeze_role('app', $revoke) AS id \\gset
		SELECT freeze_extend(:id, '1 hour') > now();
		SELECT restored > 0, skipped FROM thaw(:id);
		SELECT freeze_role('app', $revoke) > :id;
		SELECT restored > 0, skipped FROM thaw_role('app');
		COMMIT;});
	is($state, '', "$begin") or diag($err);
	is($out, "t\nt\nt|0\nt\nt|0", 'freezes, extends and thaws');
}
($state, undef, $err) = try_sql($node, "SELECT thaw(id) FROM freeze_role('agent', $revoke) AS id");
is($state, '', 'frozen and thawed in one statement') or diag($err);

# in a block with EXCEPTION
sql($node, qq{
CREATE FUNCTION try_freeze() RETURNS text LANGUAGE plpgsql AS \$\$
BEGIN
	RETURN freeze_role('app', $revoke, drain_timeout => '2 s');
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END \$\$;
CREATE FUNCTION freeze_and_fail() RETURNS text LANGUAGE plpgsql AS \$\$
BEGIN
	PERFORM freeze_role('app', $revoke);
	RAISE EXCEPTION 'later';
EXCEPTION WHEN raise_exception THEN
	RETURN SQLERRM;
END \$\$;
});
$writer->query_safe('BEGIN; INSERT INTO app.writes (who) VALUES (5);');
my $dba = open_session($node);
$dba->query_safe('SET client_min_messages = warning;');
is($dba->query_safe('BEGIN; SELECT try_freeze();'), '55P03', 'an error that is caught');
is($dba->query_safe('SELECT count(*) > 0 FROM app.writes;'), 't', 'leaves the transaction usable');
is(join(',', grep { $_ != $slow } live($node)), '', 'and nothing frozen');
$writer->query_safe('COMMIT;');
$id = $dba->query_safe('SELECT try_freeze();');
like($id, qr/^\d{1,4}$/, 'the same transaction can freeze when it is possible');
$dba->query_safe('ROLLBACK;');
is(field($id, 'state'), 'frozen', 'which its rollback does not undo');
sql($node, "SELECT thaw($id)");
is(sql($node, 'SELECT freeze_and_fail()'), 'later', 'nor does an error afterwards');
sql($node, q{SELECT thaw_role('app')});

# Whoever writes himself can't freeze: his own transaction would go on.
foreach my $statement (
	"INSERT INTO app.writes (who) SELECT freeze_role('app', $revoke)",
	"WITH w AS (INSERT INTO app.writes (who) VALUES (6) RETURNING who) SELECT freeze_role('app', $revoke) FROM w",
	"UPDATE app.t1 SET id = 1; SELECT freeze_role('app', $revoke)",
	"UPDATE app.writes SET who = 7 WHERE freeze_role('app', $revoke) > 0",
	"DELETE FROM app.writes RETURNING freeze_role('app', $revoke)",
	"LOCK TABLE app.t1 IN ROW EXCLUSIVE MODE; SELECT freeze_role('app', $revoke)",
	"CREATE TABLE app.made AS SELECT freeze_role('app', $revoke)",
	"SELECT freeze_role('app', $revoke) INTO app.made",
	"EXPLAIN ANALYZE INSERT INTO app.writes (who) SELECT freeze_role('app', $revoke)",
	"MERGE INTO app.t1 USING freeze_role('app', $revoke) f ON false WHEN NOT MATCHED THEN INSERT VALUES (f)",
	"SELECT nextval('app.writes_id_seq'); SELECT freeze_role('app', $revoke)",
	"SELECT lo_create(0); SELECT freeze_role('app', $revoke)")
{
	($state, undef, $err) = try_sql($node, "BEGIN; $statement; COMMIT;");
	is($state, '25001', "refused: $statement") or diag($err);
	is(join(',', grep { $_ != $slow } live($node)), '', 'and nothing is frozen');
}

# --- the thaw that could not be completed ---------------------------------

($state, undef, $err) = finish_sql($slow_thaw);
is($state, '55P03', 'a thaw gives up where a GRANT stays open') or diag($err);
is(field($slow, 'state, thaw_failures > 0, retry_at IS NOT NULL'), 'thawing|t|t', 'is tried again later');
like(field($slow, 'last_error'), qr/./, 'and says why');
is(sql($node, q{SELECT has_table_privilege('slow', 'other.slow', 'INSERT')}), 'f', 'with everything still taken');
$holder->query_safe('COMMIT;');
wait_until($node, "SELECT state = 'thawed' FROM freeze_journal WHERE id = $slow");
is(field($slow, 'skipped'), 0, 'and is completed when it has ended');
is(sql($node, q{SELECT has_table_privilege('slow', 'other.slow', 'INSERT'), has_table_privilege('reader', 'other.slow', 'SELECT')}),
	't|t', 'with the GRANT');
sql($node, 'REVOKE SELECT ON other.slow FROM reader');

sql($node, 'DROP FUNCTION try_freeze(); DROP FUNCTION freeze_and_fail();');
all_is_back('after all races');
unlike(slurp_file($node->logfile), qr/XX000|tuple (already|concurrently) updated/, 'no lost race shows');
$_->quit foreach $writer, $third, $holder, $dba;
done_testing();
