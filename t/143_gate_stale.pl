# Strategy gate: what a session knows must not be out of date.  A membership from
# before the freeze that an open transaction has not heard of; a wait that ended in
# an error which somebody caught; a commit that passes as exempt, of a prepared
# transaction too, which is in the evidence.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main', conf => "shared_preload_libraries = 'pg_freeze'\n");
make_application($node, tables => 1);
sql($node, 'CREATE ROLE target; CREATE ROLE visitor LOGIN;
	CREATE TABLE notes (note text); GRANT ALL ON notes TO visitor');

sub freeze { return sql($node, "SET client_min_messages = warning; SELECT freeze_role('target', strategy => 'gate', in_flight => 'hold', $_[0])"); }
sub note { return "INSERT INTO notes VALUES ('$_[0]');"; }

# ---- a membership ------------------------------------------------------------

my $session = open_session($node, user => 'visitor');
my $id = freeze("action => 'reject'");
$session->query_safe(note('not a member'));
sql($node, "SELECT * FROM thaw($id)");

$session->query_safe('BEGIN;' . note('a member since'));
sql($node, 'GRANT target TO visitor');
$id = freeze("action => 'reject'");
$session->query('COMMIT;');
like($session->{stderr}, qr/role target is frozen, its sessions are read-only/, 'who has become a member before the freeze is stopped at his commit');
is(sql($node, 'SELECT note FROM notes'), 'not a member', 'and has written nothing');
is(sql($node, "SELECT held FROM thaw($id)"), 't', 'the freeze held');

# ---- a wait that is over -------------------------------------------------------

$id = freeze("action => 'wait'");
$session->{stderr} = '';
$session->query_safe("BEGIN; SET LOCAL lock_timeout = '10ms';
	DO \$\$BEGIN " . note('in vain') . " EXCEPTION WHEN lock_not_available THEN NULL; END\$\$;");
is(sql($node, 'SELECT count(*) FROM freeze_waiters'), 0, 'who has given up, and goes on in his transaction, waits no more');
$session->query_safe('COMMIT;');
is(sql($node, "SELECT waiters, state FROM freeze_status WHERE id = $id"), '0|frozen', 'nor after it');
sql($node, "SELECT * FROM thaw($id)");
$session->quit;

# ---- what passes -----------------------------------------------------------------

sql($node, 'BEGIN;' . note('prepared') . "PREPARE TRANSACTION 'one'", user => 'visitor');
$node->append_conf('postgresql.conf', "pg_freeze.exempt_roles = 'manager'");
sql($node, 'CREATE ROLE manager LOGIN SUPERUSER');
$node->reload;
$node->poll_query_until('postgres', 'SHOW pg_freeze.exempt_roles', 'manager') or die;
$id = freeze("action => 'reject'");
my ($status, undef, $stderr) = $node->psql('postgres', "COMMIT PREPARED 'one'");
like($stderr, qr/role target is frozen/, 'a superuser cannot commit what was prepared');
sql($node, "COMMIT PREPARED 'one'", user => 'manager');
like(sql($node, "SELECT evidence FROM thaw($id)"), qr/ 1 commits by exempt sessions/, 'who is exempt can, and the evidence says so');

$node->stop;
done_testing();
