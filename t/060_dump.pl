# A dump taken while frozen does not lose privileges: restored elsewhere and
# thawed there, everybody has what a dump of the unfrozen database gives.
# Not tested: pg_upgrade, which needs two majors on one machine.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('origin');
my $other = new_server('elsewhere');
my $dir = PostgreSQL::Test::Utils::tempdir('dumps');

# --- an application with chains of grants and odd names --------------------

sql($node, q{
CREATE ROLE "the ""App""" LOGIN;
CREATE ROLE "Größe, o=w/x" LOGIN;
CREATE ROLE manager;
CREATE ROLE clerk LOGIN;
CREATE ROLE team;
CREATE DATABASE origin;
});
sql($node, q{
CREATE EXTENSION pg_freeze;
CREATE SCHEMA "a ""b"" c" AUTHORIZATION "the ""App""";
CREATE SCHEMA w AUTHORIZATION manager;
GRANT TEMPORARY ON DATABASE origin TO "the ""App""";
GRANT team TO "the ""App""";
SET ROLE "the ""App""";
GRANT USAGE ON SCHEMA "a ""b"" c" TO clerk, "Größe, o=w/x";
CREATE TABLE "a ""b"" c"."t.1" (id int GENERATED ALWAYS AS IDENTITY, "col ""x""" text);
CREATE TABLE "a ""b"" c".plain (id serial PRIMARY KEY, n int);
CREATE VIEW "a ""b"" c".v AS SELECT * FROM "a ""b"" c".plain;
CREATE FUNCTION "a ""b"" c".f(int, text) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION "a ""b"" c".f(int) RETURNS int LANGUAGE sql AS 'SELECT 2';
GRANT EXECUTE ON FUNCTION "a ""b"" c".f(int) TO clerk;
GRANT SELECT, INSERT ON "a ""b"" c"."t.1" TO "Größe, o=w/x" WITH GRANT OPTION;
GRANT UPDATE ("col ""x""") ON "a ""b"" c"."t.1" TO clerk;
ALTER DEFAULT PRIVILEGES IN SCHEMA "a ""b"" c" GRANT SELECT, INSERT, UPDATE ON TABLES TO clerk;
SELECT lo_from_bytea(5001, 'mine');
SET ROLE "Größe, o=w/x";
GRANT SELECT, INSERT ON "a ""b"" c"."t.1" TO clerk;
SET ROLE manager;
CREATE TABLE w.stock (item text, amount int, note text);
CREATE TABLE w.part (LIKE w.stock) PARTITION BY LIST (item);
CREATE TABLE w.part_a PARTITION OF w.part FOR VALUES IN ('a');
CREATE SEQUENCE w.s;
GRANT ALL ON SCHEMA w TO "the ""App""" WITH GRANT OPTION;
GRANT USAGE ON SCHEMA w TO clerk, "Größe, o=w/x";
GRANT ALL ON w.stock TO "the ""App""" WITH GRANT OPTION;
GRANT UPDATE (amount), INSERT (item, amount) ON w.part TO "the ""App""" WITH GRANT OPTION;
GRANT INSERT ON w.part_a TO "the ""App""", team;
GRANT USAGE, UPDATE ON SEQUENCE w.s TO "the ""App""" WITH GRANT OPTION;
ALTER DEFAULT PRIVILEGES IN SCHEMA w GRANT SELECT, INSERT ON TABLES TO "the ""App""";
ALTER DEFAULT PRIVILEGES IN SCHEMA w GRANT USAGE ON SEQUENCES TO "the ""App""";
SELECT lo_from_bytea(5002, 'theirs');
GRANT SELECT, UPDATE ON LARGE OBJECT 5002 TO "the ""App""" WITH GRANT OPTION;
-- the chain: manager to App to Größe to clerk
SET ROLE "the ""App""";
GRANT SELECT, INSERT, UPDATE ON w.stock TO "Größe, o=w/x" WITH GRANT OPTION;
GRANT USAGE ON SEQUENCE w.s TO clerk;
GRANT UPDATE (amount) ON w.part TO clerk;
GRANT UPDATE ON LARGE OBJECT 5002 TO clerk;
SET ROLE "Größe, o=w/x";
GRANT SELECT, INSERT ON w.stock TO clerk;
}, db => 'origin');

# --- what everybody may do -------------------------------------------------

# Who may do what with which object, by names, whoever granted it.
sub effective
{
	my ($server, $db) = @_;
	return join "\n", sort split /\n/, sql($server, q{
WITH acls (kind, object, owner, acl) AS (
	SELECT 'relation', c.oid::regclass::text, c.relowner, coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's'::"char" ELSE 'r' END, c.relowner))
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND (n.nspname = 'w' OR n.nspname LIKE 'a %')
	UNION ALL
	SELECT 'column', format('%s.%I', a.attrelid::regclass, a.attname), c.relowner, a.attacl
	FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE NOT a.attisdropped AND (n.nspname = 'w' OR n.nspname LIKE 'a %')
	UNION ALL
	SELECT 'schema', quote_ident(nspname), nspowner, coalesce(nspacl, acldefault('n', nspowner)) FROM pg_namespace WHERE nspname = 'w' OR nspname LIKE 'a %'
	UNION ALL
	SELECT 'large object', oid::text, lomowner, coalesce(lomacl, acldefault('L', lomowner)) FROM pg_largeobject_metadata
	UNION ALL
	SELECT 'function', p.oid::regprocedure::text, p.proowner, coalesce(p.proacl, acldefault('f', p.proowner))
	FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname LIKE 'a %'
	UNION ALL
	SELECT 'default', format('%s %s', defaclnamespace::regnamespace, defaclobjtype), defaclrole, defaclacl FROM pg_default_acl)
SELECT kind, object, owner::regrole, grantee::regrole, privilege_type, bool_or(is_grantable)
FROM acls, aclexplode(acl) GROUP BY 1, 2, 3, 4, 5}, db => $db);
}

sub restore
{
	my ($server, $db, $file) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($out, $err);

	sql($server, "CREATE DATABASE $db");
	IPC::Run::run([ $server->installed_command('psql'), '-XAtq', '-d', $server->connstr($db), '-f', $file ], '>', \$out, '2>', \$err);
	# Grants by the target to others stay in force, but pg_dump writes them as
	# the target's own, who has no grant option while frozen.  The thaw gives
	# them back.
	my @errors = grep { /ERROR/ && !/ERROR:  permission denied for / } split /\n/, $err;
	is_deeply(\@errors, [], "$db: restored without an error but those");
	return;
}

sub dump_to
{
	my ($file, @options) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$node->command_ok([ 'pg_dump', '-f', "$dir/$file", @options, $node->connstr('origin') ], "pg_dump, $file");
	return "$dir/$file";
}

# Of this database, whatever others there are.
sub at_home
{
	return join "\n", grep { !/^pg_database\|/ || /,origin,/ } split /\n/, privileges($node, db => 'origin');
}

my $before = at_home();
my $plain = dump_to('plain.sql');
$node->command_ok([ 'pg_dumpall', '--roles-only', '-f', "$dir/roles.sql", '-d', $node->connstr('postgres') ], 'pg_dumpall --roles-only');
{
	my ($out, $err);
	IPC::Run::run([ $other->installed_command('psql'), '-Xq', '-d', $other->connstr('postgres'), '-f', "$dir/roles.sql" ], '>', \$out, '2>', \$err);
}
restore($other, 'plain', $plain);
my $expected = effective($other, 'plain');
same_privileges($expected, effective($node, 'origin'), 'the unfrozen dump carries all privileges');

# Roles: memberships belong to the cluster, and no database can put them back in another.
my $id = sql($node, q{SELECT freeze_role('the "App"', strategy => 'revoke')}, db => 'origin');
is(sql($node, q{SELECT pg_has_role('the "App"', 'team', 'usage')}), 'f', 'a membership that only writes is taken');
restore($other, 'membership', dump_to('membership.sql'));
sql($other, "SELECT thaw($id)", db => 'membership');
is(sql($other, q{SELECT names::text, outcome FROM freeze_changes WHERE kind ~ 'member'}, db => 'membership') =~ /skipped: belongs to the cluster/ ? 1 : 0,
	1, 'a copy lists a membership as skipped');
is(sql($other, q{SELECT pg_has_role('the "App"', 'team', 'usage')}), 't', 'and leaves those of its cluster alone');
sql($node, "SELECT thaw($id)", db => 'origin');
same_privileges(at_home(), $before, 'all privileges are back');

foreach my $case ([ 'write', 'role' ], [ 'all', 'role' ], [ 'write', 'schema' ], [ 'all', 'schema' ], [ 'write', 'database' ])
{
	my ($mode, $kind) = @$case;
	my $name = "${kind}_$mode";
	my $target = $kind eq 'role' ? q{'the "App"'} : $kind eq 'schema' ? q{'w'} : q{'origin'};
	my $id = sql($node, "SELECT freeze_$kind($target, mode => '$mode', strategy => 'revoke')", db => 'origin');
	my $file = dump_to("$name.sql");
	my $frozen = effective($node, 'origin');

	isnt($frozen, $expected, "$name: the freeze has taken something");
	sql($node, "SELECT thaw($id)", db => 'origin');
	same_privileges(at_home(), $before, "$name: thawed at home");

	# to another cluster, and to another database of this one
	foreach my $server ($other, $node)
	{
		my $where = $server == $node ? 'same cluster' : 'other cluster';

		restore($server, $name, $file);
		is(sql($server, 'SELECT state, in_force FROM freeze_status', db => $name), 'frozen|', "$name, $where: the journal came along");
		isnt(effective($server, $name), $expected, "$name, $where: comes frozen");
		my $shared = sql($server, "SELECT oid, datacl FROM pg_database WHERE datname <> '$name' ORDER BY oid");
		is(sql($server, "SELECT held, lost_reason ~ 'is a copy' FROM thaw($id)", db => $name), 'f|t', "$name, $where: thaws, and claims nothing");
		same_privileges(effective($server, $name), $expected, "$name, $where: everybody has what the unfrozen dump gives");
		is(sql($server, "SELECT oid, datacl FROM pg_database WHERE datname <> '$name' ORDER BY oid"), $shared, "$name, $where: other databases are left alone");
	}
}

done_testing();
