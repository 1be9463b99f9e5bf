# The program pg_freeze: rescue prints SQL that undoes what is frozen in all
# databases, while the library can't be loaded.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use CliTest;
use PgFreezeTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SharedValues;
use Test::More;

my $node = new_server('main');
my $odd = q{it's a "database" = \\};
my @databases = ('postgres', 'shop', $odd);
my ($status, $out, $err);

# psql with a script of rescue's: in a database that none of it is about
sub run_script
{
	my ($script) = @_;
	my ($rc, $out, $err) = $node->psql('template1', $script, on_error_stop => 1);
	return ($rc, $out, $err);
}

# connstr() quotes names
sub freeze
{
	my ($db, $what) = @_;
	return sql($node, qq{SET search_path = public, "Odd"; SELECT freeze_$what}, db => $db);
}

sub live_in
{
	my ($db) = @_;
	return sql($node, q{SET search_path = public, "Odd"; SELECT count(*) FROM freeze_journal WHERE state NOT IN ('thawed', 'aborted')}, db => $db);
}

make_application($node);
sql($node, 'CREATE DATABASE shop');
sql($node, q{CREATE DATABASE "it's a ""database"" = \\"});
make_application($node, db => 'shop', roles_exist => 1);
sql($node, 'CREATE SCHEMA "Odd"; CREATE EXTENSION pg_freeze SCHEMA "Odd"', db => $odd);
make_application($node, db => $odd, roles_exist => 1);

# --- nothing, or not allowed ---------------------------------------------------

($status, $out, $err) = cli($node, 'rescue', '--sql');
is("$status$err", "0pg_freeze: nothing is frozen\n", 'nothing is frozen');
unlike($out, qr/^[^-\n]/m, '... and the script is comments');
is((run_script($out))[0], 0, '... that psql takes');
($status, $out, $err) = cli($node, { user => 'app' }, 'rescue', '--sql');
is($status, 1, 'only a superuser can');
like($err, qr/^pg_freeze: user "app" is no superuser .*\npg_freeze: HINT: /, '... and it says so');
is((cli($node, 'rescue', @$_))[0], 2, "wrong usage: rescue @$_") foreach ([], ['5'], [ '--sql', 'x' ], [ '--sql', 1, 2 ]);

# --- one of several, by its id ---------------------------------------------------

# what is in the way of names that the script uses
sql($node, q{CREATE SCHEMA trap});
sql($node, q{CREATE FUNCTION trap.pg_terminate_backend(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$});
sql($node, q{ALTER DATABASE postgres SET search_path = trap, pg_catalog, public});
like((try_sql($node, 'SELECT pg_terminate_backend(0)'))[2], qr/trapped/, 'a trap');

my $kept = freeze('postgres', q{role('reader', strategy => 'revoke')});
my $undone = freeze('postgres', q{schema('app', strategy => 'lock', reason => E'made\nin a hurry')});
is(writing($node), 'waits', 'a freeze by locks');
($status, $out, $err) = cli($node, 'rescue', '--sql', $undone);
is($status, 0, '... can be undone alone');
like($out, qr/^-- freeze $undone of schema app by lock, mode write, frozen since .*, made by \S+: made in a hurry$/m, '... what it is, in one line');
unlike($out, qr/freeze $kept of/, '... and the others are left alone');
is(live_in('postgres'), 2, 'printing changes nothing');
is((run_script($out))[0], 0, 'psql runs it');
ok(goes_on($node), '... and the application writes');
is(live_in('postgres'), 1, '... and the other one is frozen');
is((cli($node, 'rescue', '--sql', $undone))[0], 1, 'one that is over');
sql($node, 'SELECT id FROM thaw_all()');
sql($node, 'ALTER DATABASE postgres RESET search_path; DROP SCHEMA trap CASCADE');

# --- all of them, without the library ----------------------------------------------

my %before = map { $_ => privileges($node, db => $_) } @databases;

freeze('shop', q{role('agent', mode => 'all', strategy => 'revoke')});
freeze('postgres', q{role('app', strategy => 'revoke')});
freeze('postgres', q{role('other', strategy => 'read_only')});
freeze('postgres', q{schema('app', mode => 'all', strategy => 'revoke')});		# finds what the first has left
freeze($odd, q{role('app', strategy => 'revoke')});
freeze($odd, q{role('app', mode => 'all', strategy => 'disconnect')});
freeze($odd, q{database('shop', mode => 'all', strategy => 'disconnect')});
is(logs_in($node, 'app', 'postgres'), 'no', 'a role is stopped');
is(logs_in($node, 'caller', 'shop'), 'no', '... and a database');

$node->stop;
$node->append_conf('postgresql.conf', "dynamic_library_path = '/nowhere'\n");
$node->append_conf('postgresql.conf', "extension_destdir = ''\n") if slurp_file($ENV{TEMP_CONFIG} || '/dev/null') =~ /^extension_destdir/m;
$node->start;
# and where it is in the one place where every server finds it
sql($node, q{UPDATE pg_proc SET probin = '$libdir/of_another_time' WHERE probin LIKE '%pg\_freeze'}, db => $_) foreach ('postgres', $odd);
is((try_sql($node, 'SELECT thaw_all()'))[0], '58P01', 'the library is missing');
($status, $out, $err) = cli($node, 'status');
is($status, 1, '... so that status does not work');
like($err, qr/HINT: if the library of pg_freeze is missing: "pg_freeze rescue --sql"/, '... and says what does');

($status, $out, $err) = cli($node, 'rescue', '--sql');
is($status, 1, 'one database can not be looked into');
like($err, qr/^pg_freeze: WARNING: could not look into database "shop": it does not allow connections$/m, '... which, is said');
like($err, qr/^pg_freeze: 6 freezes$/m, '... and how many there are in the others');
like($out, qr/^-- NOT ALL of database shop: /m, '... and in the script');
my ($rc, undef, $stderr) = run_script($out);
is("$rc$stderr", '0', 'psql runs it');
is(live_in($_), 0, "... and nothing is frozen from $_") foreach ('postgres', $odd);
is(logs_in($node, 'app', 'postgres'), 'yes', '... the role may log in');
is(logs_in($node, 'caller', 'shop'), 'yes', '... and into the database');
same_privileges(privileges($node, db => $_), $before{$_}, "... everything is as it was in $_") foreach ('postgres', $odd);

($status, $out, $err) = cli($node, 'rescue', '--sql', '-q');
is("$status$err", '0', 'now the other database can be looked into');
is((run_script($out))[0], 0, '... and psql runs that');
is(live_in('shop'), 0, '... and nothing is frozen from there');
same_privileges(privileges($node, db => 'shop'), $before{shop}, '... and everything is as it was');

done_testing();
