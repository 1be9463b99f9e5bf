# What strategies read_only and disconnect do beside the straight path: roles that
# are dropped meanwhile, sessions that are left alone, and what is said of them.
# The OIDs are beyond what an int4 can hold.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main', stopped => 1);
command_ok([ 'pg_resetwal', '-o', '3000000000', $node->data_dir ], 'OIDs beyond those of an int4');
$node->start;
sql($node, q{
CREATE EXTENSION pg_freeze;
CREATE ROLE app LOGIN;
CREATE ROLE other LOGIN;
CREATE ROLE victim LOGIN;
CREATE ROLE standby LOGIN REPLICATION;
CREATE ROLE writers;
CREATE ROLE member LOGIN IN ROLE writers;
CREATE DATABASE shop;
ALTER ROLE app IN DATABASE shop SET default_transaction_read_only = off;
});
cmp_ok(sql($node, q{SELECT oid FROM pg_roles WHERE rolname = 'app'}), '>', 2**31, 'the OIDs of roles are large');

# settings that would be left of a role that is just being dropped
my $dropping = $node->background_psql('postgres');
$dropping->query_safe('BEGIN; DROP ROLE victim');
sql($node, q{SELECT freeze_role('victim', strategy => 'read_only')});
$dropping->query_safe('COMMIT');
$dropping->quit;
is(sql($node, q{SELECT skipped FROM thaw_role('victim')}), 1, 'a role that was dropped while it was frozen is skipped');
is(sql($node, q{SELECT count(*) FROM pg_db_role_setting WHERE setrole NOT IN (SELECT oid FROM pg_roles UNION SELECT 0)}),
	0, '... and nothing is left of it');

# names and numbers in the views
sql($node, q{SELECT freeze_role('app', strategy => 'read_only')});
is(sql($node, q{SELECT string_agg(kind || ' ' || names::text || ' ' || coalesce(before, '-'), ', ' ORDER BY names) FROM freeze_changes WHERE outcome IS NULL}),
	'setting {app} -, setting {shop,app} off', 'freeze_changes shows settings of roles with large OIDs');

# who else holds something
sql($node, q{SELECT freeze_role('app', strategy => 'read_only')});
sql($node, q{SELECT freeze_role('other', strategy => 'read_only')});
sql($node, q{SELECT freeze_role('other', mode => 'all', strategy => 'disconnect')});
my (undef, undef, $said) = try_sql($node, q{SELECT id FROM thaw((SELECT min(id) FROM freeze_status))});
like($said, qr/another freeze of role app .* is still in force/, 'a thaw says who holds the same');
like($said, qr/2 objects of this one stay frozen for others/, '... and how much');
unlike($said, qr/role other/, '... and does not name others');
sql($node, q{SELECT id FROM thaw_all()});

# acting as a role is not logging in as it
like(sql($node, q{SELECT string_agg(detail, ' ') FROM freeze_check('role', 'writers', strategy => 'read_only') WHERE item = 'leak' AND kind = 'members'}),
	qr/other roles may act as it: member/, 'read_only names who may act as the role');

# sessions that are not ended at the thaw stay as they began
sql($node, q{SELECT freeze_database('postgres', strategy => 'read_only')});
my $mine = $node->background_psql('postgres');
is($mine->query_safe('SHOW transaction_read_only'), 'on', 'a superuser who comes in while it is frozen reads only');
(undef, undef, $said) = try_sql($node, q{SELECT id FROM thaw_database('postgres')});
like($said, qr/WARNING: .* 2 sessions that began while database postgres was frozen stay read-only/, 'the thaw says that he goes on so');
like($said, qr/In your own: SET default_transaction_read_only = off/, '... and what to do');
is($mine->query_safe('SHOW transaction_read_only'), 'on', '... for his session is left alone');
$mine->quit;

# roles for replication may log in
my $standby = $node->background_psql('postgres', extra_params => [ '-U', 'standby' ]);
my $check = sql($node, q{SELECT string_agg(kind || ' ' || detail, ', ') FROM freeze_check('cluster', mode => 'all', strategy => 'disconnect')
	WHERE item = 'session' AND detail LIKE 'standby%'});
is($check, 'left alone standby: role for replication', 'a role for replication is left alone');
sql($node, q{SELECT freeze_cluster('all', strategy => 'disconnect')});
is($standby->query_safe('SELECT 1'), '1', '... and its session not ended');
is(sql($node, q{SELECT coalesce(held::text, 'unknown') || coalesce(lost_reason, '') FROM thaw_cluster()}), 'unknown', '... which is a leak, no gap');
$standby->quit;

# who is a superuser by SET ROLE only would lock himself out
sql($node, 'CREATE ROLE dba LOGIN IN ROLE ' . sql($node, 'SELECT quote_ident(current_user)'));
my ($state, undef, $refused) = try_sql($node, 'SET ROLE ' . sql($node, 'SELECT quote_ident(current_user)') . q{;
SELECT freeze_cluster('all', strategy => 'disconnect')}, user => 'dba');
is($state, '55000', 'a cluster is not disconnected by who could not log in again');
like($refused, qr/You have logged in as role dba/, '... and he is told why');

# what would stop nobody, or a standby
my $answer;
($answer, undef, $refused) = try_sql($node, q{SELECT freeze_role('writers', strategy => 'read_only')});
is($answer, '55000', 'no session has the settings of a role that may not log in');
like($refused, qr/there is nothing to freeze/, '... and that is said');
sql($node, q{CREATE ROLE oncall LOGIN; GRANT USAGE ON SCHEMA public TO oncall; GRANT EXECUTE ON FUNCTION freeze_role TO oncall});
($answer, undef, $refused) = try_sql($node, q{SELECT freeze_role('standby', mode => 'all', strategy => 'disconnect')}, user => 'oncall');
is($answer, '42501', 'only a superuser keeps a role for replication out');
is(sql($node, 'SELECT count(*) FROM freeze_status'), '0', '... nothing is frozen');

# a note that somebody has damaged is in the way of nobody else
sql($node, q{SELECT freeze_role('app', mode => 'all', strategy => 'disconnect')});
my $note = sql($node, q{SELECT label FROM pg_shseclabel WHERE classoid = 'pg_db_role_setting'::regclass});
sql($node, q{SET allow_system_table_mods = on; UPDATE pg_shseclabel SET label = E'=true\\nnobody' WHERE classoid = 'pg_db_role_setting'::regclass});
sql($node, q{SELECT freeze_role('other', strategy => 'read_only')});
is(sql($node, q{SELECT target FROM thaw_role('other')}), 'role other', 'another freeze is made and thawed beside a damaged note');
($answer, undef, $refused) = try_sql($node, q{SELECT * FROM thaw_role('app')});
is($answer, '55000', 'what it is about is refused');
like($refused, qr/the note of who holds login of role app is damaged\n.*DETAIL:  Label of provider "pg_freeze login 0 \d+" in pg_shseclabel: =true\nnobody\n.*HINT:  Nobody but pg_freeze writes there/s, '... and says which and what to do');
sql($node, "SET allow_system_table_mods = on; UPDATE pg_shseclabel SET label = '$note' WHERE classoid = 'pg_db_role_setting'::regclass");
wait_until($node, q{SELECT count(*) = 0 FROM freeze_status});
is(sql($node, q{SELECT rolcanlogin FROM pg_roles WHERE rolname = 'app'}), 't', 'mended, the thaw that has begun is finished');

done_testing();
