# pg_upgrade of a server that is frozen, to one of the same version, which is what
# can be had on any machine: journal, roles and settings come along, and a thaw
# there puts back by names what was changed.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SharedValues;
use Test::More;

my $old = new_server('old');
my $new = new_server('new', stopped => 1);
my $bindir = $old->config_data('--bindir');
my @databases = qw(postgres shop one two);
my $dir = PostgreSQL::Test::Utils::tempdir('upgrade');

plan skip_all => 'there is no pg_upgrade' if !-x "$bindir/pg_upgrade";

sub upgrade
{
	my (@options) = @_;
	my $out = '';
	my $done;

	chdir $dir or die $!;
	$done = IPC::Run::run([ "$bindir/pg_upgrade", '-b', $bindir, '-B', $bindir, '-d', $old->data_dir, '-D', $new->data_dir,
		'-s', $new->host, '-p', $old->port, '-P', $new->port, '--link', '--no-sync', @options ], '>&', \$out);
	note($out);
	return ($done, $out);
}

# pg_upgrade loads the library by this name; from 18 on only the server's own folder has that
if ((try_sql($old, q{LOAD '$libdir/pg_freeze'}))[0] ne '')
{
	diag('NOT TESTED: pg_upgrade, because the library is not installed in the folder of the server ($libdir)');
	plan skip_all => 'pg_freeze is not installed in $libdir';
}

make_settings($old);
my $names = shared_names($old, @databases);
my $closed = sql($old, q{SELECT freeze_database('shop', mode => 'all', strategy => 'disconnect')}, db => 'one');
my @ids = map { [ $_->[0], sql($old, "SELECT freeze_$_->[1]", db => $_->[0]) ] } (
	[ 'one', q{role('app', mode => 'all', strategy => 'disconnect')} ],
	[ 'two', q{role('app', mode => 'all', strategy => 'disconnect')} ],
	[ 'one', q{database('shop', strategy => 'read_only')} ],
	[ 'two', q{role('Rö le', strategy => 'read_only')} ],
	[ 'two', q{cluster(strategy => 'read_only')} ]);

$old->stop;
my ($done, $out) = upgrade('--check');
ok(!$done, 'pg_upgrade does not like a database that is disconnected');
like($out, qr/datallowconn/, 'and says so');
$old->start;
sql($old, "SELECT thaw($closed)", db => 'one');
my $frozen = shared_names($old, @databases);
$old->stop;

($done) = upgrade();
ok($done, 'the others are not in its way');
$new->start;
# settings of all roles stay behind
is(shared_names($new, @databases), $frozen =~ s/^setting\|\(,,.*\n//mr, 'the new server comes up frozen');
is(sql($new, 'SELECT count(*) FILTER (WHERE in_force) FROM freeze_status', db => $_), '0', "no freeze of $_ claims that it is in force") foreach (qw(one two));
foreach my $freeze (@ids)
{
	is(sql($new, "SELECT held, lost_reason, skipped FROM thaw($freeze->[1])", db => $freeze->[0]),
		'f|this database is a copy; the freeze was made in another one|0', "freeze $freeze->[1] of $freeze->[0] is thawed, and claims nothing");
}
same_privileges(shared_names($new, @databases), $names =~ s/^setting\|\(,,.*\n//mr, 'everything is as it was');
my $later = sql($new, q{SELECT freeze_role('app', mode => 'all', strategy => 'disconnect')}, db => 'two');
is(sql($new, "SELECT held IS DISTINCT FROM false FROM thaw($later)", db => 'two'), 't', 'and freezes hold as ever');

unlike(slurp_file($new->logfile), qr/PANIC|TRAP|XX000/, 'nothing strange is in the log');
done_testing();
