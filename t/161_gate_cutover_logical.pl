# Cut-over to a logical subscriber, as in doc/recipes.md: tables are replicated,
# sequences and large objects are copied while the old server is frozen by gate.
# Every acknowledged commit is at the new server, none that was not, no number
# of a sequence is given out twice, and the old server is never thawed.
#
# PF_CLIENTS (5) makes it bigger.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use CutOver;
use PgFreezeTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $clients = $ENV{PF_CLIENTS} || 5;
my $folder = PostgreSQL::Test::Utils::tempdir('cutover');
my $old = new_server('old', streaming => 'logical', conf => "shared_preload_libraries = 'pg_freeze'\n");
my $new = new_server('new', streaming => 'logical');

sql($old, 'CREATE EXTENSION pg_freeze;' . numbers_table());
sql($old, 'CREATE SEQUENCE app.never_called; CREATE SEQUENCE app."Down" INCREMENT -3 MAXVALUE 7; CREATE PUBLICATION moving FOR TABLES IN SCHEMA app');
sql($old, q{SELECT nextval('app."Down"')});
sql($new, numbers_table());
sql($new, 'CREATE SEQUENCE app.never_called; CREATE SEQUENCE app."Down" INCREMENT -3 MAXVALUE 7');
sql($new, sprintf q{CREATE SUBSCRIPTION moving CONNECTION 'host=%s port=%s dbname=postgres' PUBLICATION moving}, $old->host, $old->port);
$new->wait_for_subscription_sync($old, 'moving') if $new->can('wait_for_subscription_sync');

address($folder, $old);
start_clients($folder, $clients, 'service=app');
clients_write($old, $clients, 30);

# a transaction that is under way when the door is closed: it will not come over
my $under_way = open_session($old, user => 'app');
$under_way->query_safe(q{BEGIN; INSERT INTO app.numbers (client, n) VALUES (0, 0); SELECT lo_from_bytea(0, 'never')});

# --- frozen: clients wait ---
my $id = sql($old, "SELECT freeze_database(strategy => 'gate', thaw_after => '0', reason => 'moved')");
my $rows = sql($old, 'SELECT count(*) FROM app.numbers');
my $lsn = sql($old, "SELECT frozen_lsn FROM freeze_status WHERE id = $id");
wait_until($old, "SELECT bool_and(confirmed_flush_lsn >= '$lsn') FROM pg_replication_slots WHERE slot_name = 'moving'");
is(sql($new, 'SELECT count(*) FROM app.numbers'), $rows, 'at frozen_lsn the subscriber has all rows');

# --- what logical replication doesn't carry over ---
command_ok([ 'bash', '-c', q{psql -XAtq -v ON_ERROR_STOP=1 -d "$0" -c "$2" | psql -Xq -v ON_ERROR_STOP=1 -d "$1"}, $old->connstr('postgres'), $new->connstr('postgres'),
	q{SELECT format('SELECT setval(%L, %s);', format('%I.%I', schemaname, sequencename), last_value) FROM pg_sequences WHERE last_value IS NOT NULL AND schemaname = 'app'} ],
	'the sequences are copied');
command_ok([ 'bash', '-c', q{pg_dump --data-only --blobs --exclude-table='*.*' -d "$0" | psql -Xq -v ON_ERROR_STOP=1 -d "$1"}, $old->connstr('postgres'), $new->connstr('postgres') ],
	'the large objects are copied');
my $sequences = q{SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = 'app' ORDER BY 1};
is(sql($new, $sequences), sql($old, $sequences), 'the sequences are where the old ones are');
my $objects = q{SELECT count(*), bool_and(lomowner = 'app'::regrole), md5(string_agg(oid::text || lo_get(oid), ',' ORDER BY oid)) FROM pg_largeobject_metadata};
is(sql($new, $objects), sql($old, $objects), 'the large objects are the same');
isnt(sql($new, $objects), '0||', 'and there are some');
is_deeply(client_errors($folder, $clients), {}, 'up to here the clients have seen no error');

# --- the new server takes over ---
sql($new, 'DROP SUBSCRIPTION moving');
address($folder, $new);
wait_until($old, "SELECT count(DISTINCT pid) = $clients FROM freeze_waiters WHERE id = $id");
sql($old, "SELECT freeze_alter($id, action => 'reject')");
clients_write($new, $clients, 30);
pass('all go on at the new server');
is(sql($old, 'SELECT count(*) FROM freeze_waiters'), '0', 'nobody waits at the old one');

# who was in the middle of a transaction gets the error at his commit
my ($out, $failed) = $under_way->query('COMMIT');
like($under_way->{stderr}, qr/database postgres is frozen, its sessions are read-only/, 'the transaction that was under way is refused');
$under_way->quit;

stop_clients();
my $count = notes_match($new, $folder, $clients, 'new server');
note("$count commits acknowledged, $rows of them by the old server");
is(sql($new, 'SELECT count(*) FROM app.numbers WHERE port = ' . $old->port), $rows, 'what the old server had is there');
is(sql($new, 'SELECT min(n.id) > max(o.id) FROM app.numbers n, app.numbers o WHERE n.port <> o.port AND o.port = ' . $old->port), 't',
	'the sequence goes on where the old one was');
is(sql($new, q{SELECT nextval('app."Down"'), nextval('app.never_called')}), '4|1', 'and so do the others');
is(sql($old, 'SELECT count(*) FROM app.numbers'), $rows, 'nothing was committed at the old one');
is(sql($old, "SELECT state, in_force FROM freeze_status WHERE id = $id"), 'frozen|t', 'which is frozen');
is(join(' ', keys %{ client_errors($folder, $clients) }), '25006', 'the clients were refused with 25006, and saw no other error');
unlike(slurp_file($_->logfile), qr/PANIC|TRAP|XX000/, 'nothing strange is in the log of ' . $_->name) foreach $old, $new;
done_testing();
