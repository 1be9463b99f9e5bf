# Strategies read_only and disconnect put exact values back where the journal has
# come by a dump, a copy of the database, a base backup or pg_upgrade, and where
# the library is missing.

use strict;
use warnings;

use Cwd ();
use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SharedValues;
use Test::More;

my $node = new_server('main', streaming => 1);
make_settings($node);
my $before = shared_rows($node);
my @databases = qw(postgres shop one two);
my $names = shared_names($node, @databases);

# Of every kind of target and strategy, in the databases one and two.
my @freezes = (
	[ 'one', q{role('app', strategy => 'read_only')} ],
	[ 'two', q{role('Rö le', strategy => 'read_only')} ],
	[ 'one', q{database('shop', strategy => 'read_only')} ],
	[ 'two', q{cluster(strategy => 'read_only')} ],
	[ 'one', q{role('app', mode => 'all', strategy => 'disconnect')} ],
	[ 'two', q{database('shop', mode => 'all', strategy => 'disconnect')} ],
	[ 'one', q{cluster(mode => 'all', strategy => 'disconnect')} ]);

sub freeze_all { return map { [ $_->[0], sql($node, "SELECT freeze_$_->[1]", db => $_->[0]) ] } @freezes; }
sub thaw { my ($server, $freeze) = @_; return sql($server, "SELECT restored > 0, skipped, coalesce(held::text, '-'), lost_reason FROM thaw($freeze->[1])", db => $freeze->[0]); }

# What psql makes of the statements of freeze_undo().
sub undo
{
	my ($server, $freeze) = @_;
	my $statements = sql($server, "SELECT freeze_undo($freeze->[1])", db => $freeze->[0]);

	sql($server, $statements, db => $freeze->[0]);
	return $statements;
}

# --- by hand --------------------------------------------------------------

foreach my $freeze (@freezes)
{
	my ($db, $what) = @$freeze;
	my $id = sql($node, "SELECT freeze_$what", db => $db);

	isnt(shared_rows($node), $before, "$what: something is changed");
	undo($node, [ $db, $id ]);
	same_privileges(shared_rows($node), $before, "$what: undone by hand");
	is(sql($node, "SELECT state, end_reason, held, lost_reason FROM freeze_history WHERE id = $id", db => $db),
		'thawed|undone by hand|f|undone by hand', 'and the history says so');
	is(sql($node, "SELECT count(*), count(*) FILTER (WHERE outcome = 'undone by hand') FROM freeze_changes WHERE id = $id", db => $db) =~ /^(\d+)\|\g1$/ ? 'all' : 'not all',
		'all', 'so do its changes');
	is((try_sql($node, "SELECT thaw($id)", db => $db))[0], '55000', 'there is nothing to thaw');
}

# A role that is kept out of one database only.
{
	sql($node, 'REVOKE CONNECT ON DATABASE one FROM PUBLIC; GRANT CONNECT ON DATABASE one TO app');
	my $was = privileges($node, db => 'one');
	my $id = sql($node, q{SET pg_freeze.disconnect_role = 'connect'; SELECT freeze_role('app', mode => 'all', strategy => 'disconnect')}, db => 'one');

	is(logs_in($node, 'app', 'one') . logs_in($node, 'app', 'two'), 'noyes', 'a role is kept out of one database');
	undo($node, [ 'one', $id ]);
	is(logs_in($node, 'app', 'one'), 'yes', 'undone by hand it is let in again');
	same_privileges(privileges($node, db => 'one'), $was, 'with the same privilege');
	sql($node, 'REVOKE CONNECT ON DATABASE one FROM app; GRANT CONNECT ON DATABASE one TO PUBLIC; UPDATE pg_database SET datacl = NULL WHERE datname = $$one$$');
	same_privileges(shared_rows($node), $before, 'and all is as it was');
}

# A session that began meanwhile: how it gets rid of the setting is said, too.
{
	my $id = sql($node, "SELECT freeze_$freezes[0][1]", db => 'one');
	my $session = open_session($node, user => 'app', db => 'two');
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	my ($end) = undo($node, [ 'one', $id ]) =~ /^-- sessions that began meanwhile are read-only until they end: (SELECT.*)$/m;

	is($session->query_safe('SHOW default_transaction_read_only'), 'on', 'a session that began meanwhile is still read-only');
	wait_until($node, "SELECT state = 'idle' FROM pg_stat_activity WHERE pid = $pid");
	is(sql($node, $end), 't', 'the statement that ends it comes along');
	wait_until($node, "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid");
	eval { $session->quit };
}

{
	my @ids = freeze_all();
	my $held = register($node);

	# as all of them are printed before the first is run, each has to look for itself
	my @statements = map { [ $_->[0], sql($node, "SELECT freeze_undo($_->[1])", db => $_->[0]) ] } @ids;
	is(register($node), $held, 'freeze_undo() itself changes nothing');
	foreach my $i (2, 5, 0, 6, 1, 3)
	{
		sql($node, $statements[$i][1], db => $statements[$i][0]);
	}
	is(sql($node, q{SELECT rolcanlogin FROM pg_roles WHERE rolname = 'app'}), 'f', 'what one of them still holds stays');
	is(logs_in($node, 'member'), 'yes', 'what no other one holds does not');
	sql($node, $statements[4][1], db => $statements[4][0]);
	same_privileges(shared_rows($node), $before, 'all undone by hand, in some order');

	@ids = freeze_all();
	undo($node, $ids[$_]) foreach (0, 3, 6);
	isnt(register($node), '', 'some undone by hand');
	is(thaw($node, $ids[$_]) =~ s/\|.*?\|/|/r =~ s/\|.*//r, 't', "and freeze $_ thawed") foreach (4, 2, 1, 5);
	same_privileges(shared_rows($node), $before, 'together they put everything back');
}

# --- without the library --------------------------------------------------

{
	my @ids = freeze_all();
	my $destdir = sql($node, q{SELECT count(*) FROM pg_settings WHERE name = 'extension_destdir'});

	$node->stop;
	$node->append_conf('postgresql.conf', "dynamic_library_path = '/nowhere'\n" . ($destdir ? "extension_destdir = ''\n" : ''));
	$node->start;
	my ($state) = try_sql($node, "SELECT thaw($ids[0][1])", db => $ids[0][0]);
	note('the library is where it is always found') if $state ne '58P01';
	undo($node, $_) foreach (@ids);
	same_privileges(shared_rows($node), $before, 'undone without the library');
	$node->stop;
	$node->append_conf('postgresql.conf', sprintf "dynamic_library_path = '%s'\n", $1) if slurp_file($ENV{TEMP_CONFIG}) =~ /^dynamic_library_path = '(.*)'/m;
	$node->append_conf('postgresql.conf', sprintf "extension_destdir = '%s'\n", $1) if slurp_file($ENV{TEMP_CONFIG}) =~ /^extension_destdir = '(.*)'/m;
	$node->start;
}

# --- a base backup --------------------------------------------------------

my @ids = freeze_all();
my $frozen = shared_rows($node);
{
	my $clone = PostgreSQL::Test::Cluster->new('clone');

	$node->backup('clone');
	$clone->init_from_backup($node, 'clone', has_streaming => 1);
	$clone->start;
	$clone->promote;
	same_privileges(shared_rows($clone), $frozen, 'a promoted clone comes up frozen');
	is(logs_in($clone, 'app', 'one'), 'no', 'and nobody gets in');
	like(thaw($clone, $ids[$_]), qr/^[tf]\|0\|/, "there freeze $_ is thawed") foreach (3, 0, 5, 1, 6);
	undo($clone, $ids[$_]) foreach (2, 4);
	same_privileges(shared_rows($clone), $before, 'and everything is put back');
	same_privileges(shared_rows($node), $frozen, 'where it comes from all is frozen as before');
	$clone->stop;
}

# --- a copy of the database in the same cluster ---------------------------

{
	local $ENV{PGOPTIONS} = '-c default_transaction_read_only=off';
	foreach my $how (qw(template dump))
	{
		my $held = register($node);

		if ($how eq 'template')
		{
			sql($node, 'CREATE DATABASE copy TEMPLATE one');
		}
		else
		{
			my $file = PostgreSQL::Test::Utils::tempdir('dump') . '/one.sql';
			command_ok([ 'pg_dump', '-f', $file, $node->connstr('one') ], 'pg_dump while frozen');
			sql($node, 'CREATE DATABASE copy');
			my ($out, $err) = ('', '');
			IPC::Run::run([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('copy'), '-f', $file ], '>', \$out, '2>', \$err);
			is($err, '', 'and it can be restored');
		}
		is(sql($node, q{SELECT count(*), count(*) FILTER (WHERE in_force) FROM freeze_status WHERE home = 'copy'}, db => 'copy'), '4|0', "$how: the journal came along, and says that nothing is in force");
		is(sql($node, q{SELECT count(*) FROM (SELECT freeze_undo(id) FROM freeze_journal) x}, db => 'copy'), '0', "$how: there is nothing to undo by hand");
		is(register($node), $held, "$how: what is held is not held once more");
		foreach my $freeze (grep { $_->[0] eq 'one' } @ids)
		{
			like(thaw($node, [ 'copy', $freeze->[1] ]), qr/^f\|[1-9]\d*\|false\|this database is a copy/, "$how: freeze $freeze->[1] is thawed there");
		}
		is(sql($node, q{SELECT DISTINCT outcome FROM freeze_changes WHERE outcome <> 'undone by hand'}, db => 'copy'), 'skipped: belongs to the cluster, not to this copy of the database', "$how: and leaves the cluster alone");
		sql($node, 'DROP DATABASE copy');
		next_call($node, db => 'two');
		same_privileges(shared_rows($node) =~ s/(?<=\n)pg_database.*\n//gr, $frozen =~ s/(?<=\n)pg_database.*\n//gr, "$how: where it comes from all is frozen as before");
	}
}

# --- another cluster ------------------------------------------------------

{
	my $other = new_server('other');
	my $file = PostgreSQL::Test::Utils::tempdir('dump') . '/all.sql';
	my ($out, $err) = ('', '');
	# pg_dumpall leaves out databases that can't be connected to, and settings of all roles
	# and what it restores is read-only
	local $ENV{PGOPTIONS} = '-c default_transaction_read_only=off';
	my ($closed) = splice @ids, 5, 1;
	my $dumped = sub { return $_[0] =~ s/^setting\|\(,,.*\n//mr; };

	thaw($node, $closed);
	$frozen = shared_rows($node);
	command_ok([ 'pg_dumpall', '-f', $file, '-d', $node->connstr('postgres') ], 'pg_dumpall while frozen');
	unlike(slurp_file($file), qr/SECURITY LABEL/, 'the register is not in it');
	IPC::Run::run([ 'psql', '-Xq', '-d', $other->connstr('postgres'), '-f', $file ], '>', \$out, '2>', \$err);
	is(join("\n", grep { /ERROR|FATAL/ && !/role ".*" already exists/ } split /\n/, $err), '', 'and it can be restored');
	is(shared_names($other, @databases), $dumped->(shared_names($node, @databases)), 'the other cluster comes up frozen');
	like(thaw($other, $_), qr/\|false\|this database is a copy/, "there freeze $_->[1] of $_->[0] is thawed") foreach (@ids);
	same_privileges(shared_names($other, @databases), $dumped->($names), 'and everything is put back, by names');
	is(register($other), '', 'nothing is held');
	$other->stop;
}
same_privileges(shared_rows($node), $frozen, 'where it comes from all is frozen as before');
thaw($node, $_) foreach (@ids);
same_privileges(shared_rows($node), $before, 'thawed there in the end, all is as it was');

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|XX000/, 'nothing strange is in the log');
done_testing();
