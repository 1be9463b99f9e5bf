# Freezes of other databases: more of them than shared memory has room for,
# databases of another encoding, standbys.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main', streaming => 1, conf => "shared_preload_libraries = 'pg_freeze'\n");
make_application($node, tables => 3);
sql($node, 'CREATE DATABASE shop');
make_application($node, tables => 3, db => 'shop', roles_exist => 1);
sql($node, q{CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0});
sql($node, 'CREATE EXTENSION pg_freeze', db => 'latin');
wait_until($node, 'SELECT freeze_not_shown() IS NULL');
my $others = 'freeze_status WHERE home <> current_database()';

# --- encodings -------------------------------------------------------------

my $id = sql($node, qq{SELECT freeze_role('app', strategy => 'revoke', label => E'\\u00fcber', reason => 'from ' || repeat(E'\\u20ac', 200))}, db => 'shop');
is(sql($node, "SELECT length(reason) < 200, reason ~ E'^from \\u20ac+\$', label = E'\\u00fcber' FROM $others"), 't|t|t', 'a long reason is cut between two characters');
is(sql($node, "SELECT left(reason, 8), label FROM $others", db => 'latin'), 'from ???|??ber', 'where the encoding differs only ASCII is shown');

# --- a standby -------------------------------------------------------------

$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
$node->wait_for_catchup('standby');
is(sql($standby, 'SELECT id, remark FROM freeze_status', db => 'shop'), "$id|freezes made in other databases are not shown", 'a standby says that it knows its own only');
is(sql($standby, 'SELECT count(*) FROM freeze_status'), '0', 'and does');
$standby->promote;
wait_until($standby, "SELECT count(*) = 1 FROM $others");
wait_until($standby, 'SELECT freeze_not_shown() IS NULL');
pass('after the promotion it finds out');
$standby->stop;

# --- too many --------------------------------------------------------------

# Made by hand, because it is quicker.
my $columns = sql($node, q{
SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute
WHERE attrelid = 'freeze_journal'::regclass AND attnum > 0 AND NOT attisdropped AND attname <> 'id'});
sql($node, "INSERT INTO freeze_journal ($columns) SELECT $columns FROM freeze_journal, generate_series(1, 256) WHERE id = $id", db => 'shop');
next_call($node, db => 'shop');
is(sql($node, "SELECT count(*), bool_and(remark LIKE '%more than 256 freezes were live at once: some that were made in other databases are not shown until the server is restarted') FROM $others"),
	'256|t', 'more freezes than there is room for');
is(sql($node, q{SELECT count(*) FROM freeze_status}, db => 'shop'), '257', 'its home shows it');
my $new = sql($node, q{SELECT freeze_role('agent', strategy => 'revoke')}, db => 'shop');
is(sql($node, "SELECT id FROM thaw($new, home => 'shop')"), $new, 'one that has no room is thawed from elsewhere all the same');
sql($node, "DELETE FROM freeze_journal WHERE state <> 'thawed' AND id <> $id", db => 'shop');
next_call($node, db => 'shop');
is(sql($node, "SELECT id FROM $others"), $id, 'they are gone');
sql($node, 'CREATE DATABASE gone');
make_application($node, tables => 1, db => 'gone', roles_exist => 1);
sql($node, q{SELECT freeze_role('app', strategy => 'revoke')}, db => 'gone');
sql($node, "INSERT INTO freeze_journal ($columns) SELECT $columns FROM freeze_journal, generate_series(1, 254)", db => 'gone');
next_call($node, db => 'gone');
is(sql($node, "SELECT count(*) FROM $others"), '256', 'all places are taken');
sql($node, 'DROP DATABASE gone');
$new = sql($node, q{SELECT freeze_role('agent', strategy => 'revoke')}, db => 'shop');
is(sql($node, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM $others"), "$id $new", 'what a dropped database has left makes room');
$node->restart;
wait_until($node, 'SELECT freeze_not_shown() IS NULL');
is(sql($node, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM $others"), "$id $new", 'after a restart nothing is hidden');
is(sql($node, 'SELECT count(*) FROM thaw_all()'), '2', 'and all are thawed');

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|XX000/, 'nothing strange is in the log');
done_testing();
