# PgBouncer between the application and the server, in transaction and in
# session pooling: what its clients see of a freeze, which of their connections
# outlive it, and that everybody gets in after the thaw.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin, "$FindBin::RealBin/write_paths";
use File::Spec ();
use IPC::Run ();
use PgFreezeTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);
use Wire;

$SIG{PIPE} = 'IGNORE';		# who writes to a connection that is gone wants to see the error

my ($pgbouncer) = grep { -x } map { "$_/pgbouncer" } split(/:/, $ENV{PATH}), '/usr/sbin', '/usr/local/sbin';
if (!$pgbouncer)
{
	diag('NOT TESTED: freezes behind PgBouncer, because there is no program pgbouncer (Debian: package pgbouncer; script/setup as root installs it)');
	plan skip_all => 'pgbouncer is not installed';
}

my $node = new_server('main', conf => q{
shared_preload_libraries = 'pg_freeze'
});

sql($node, q{
CREATE EXTENSION pg_freeze;
CREATE ROLE app LOGIN;
CREATE DATABASE shop;
});
sql($node, q{
CREATE EXTENSION pg_freeze;
CREATE SCHEMA app AUTHORIZATION app;
SET ROLE app;
CREATE TABLE app.t (a text);
CREATE TABLE app.counters (id int PRIMARY KEY, n int NOT NULL);
INSERT INTO app.counters SELECT i, 0 FROM generate_series(1, 8) i;
}, db => 'shop');

# ---- poolers ---------------------------------------------------------------

my $folder = PostgreSQL::Test::Utils::tempdir_short();
my @poolers;

sub poll
{
	my ($what, $condition) = @_;
	my $end = time + $PostgreSQL::Test::Utils::timeout_default;

	until ($condition->())
	{
		die "timed out: $what" if time > $end;
		usleep(10_000);
	}
	return;
}

# It tries a login that failed again after 1 s.
sub start_pooler
{
	my ($mode) = @_;
	my $pooler = bless { mode => $mode, port => PostgreSQL::Test::Cluster::get_free_port(), log => "$folder/$mode.log" }, 'Pooler';

	append_to_file("$folder/$mode.users", qq{"postgres" ""\n"app" ""\n});
	append_to_file("$folder/$mode.ini", qq{
[databases]
* = host=@{[ $node->host ]} port=@{[ $node->port ]}
[pgbouncer]
listen_addr =
listen_port = $pooler->{port}
unix_socket_dir = $folder
auth_type = trust
auth_file = $folder/$mode.users
admin_users = postgres
pool_mode = $mode
default_pool_size = 10
server_login_retry = 1
query_wait_timeout = $PostgreSQL::Test::Utils::timeout_default
logfile = $pooler->{log}
pidfile = $folder/$mode.pid
});
	$pooler->{run} = IPC::Run::start([ $pgbouncer, '-q', "$folder/$mode.ini" ], '<', File::Spec->devnull, '>', "$folder/$mode.out", '2>&1');
	push @poolers, $pooler;
	poll("pgbouncer answers in mode $mode", sub { eval { admin($pooler, 'SHOW POOLS'); 1 } });
	return $pooler;
}

END { local $?; eval { $_->{run}->kill_kill } foreach @poolers; }

# What Wire wants of a server.
sub Pooler::host { return $folder }
sub Pooler::port { return $_[0]{port} }

sub through
{
	my ($pooler, $user, $database) = @_;
	return "host=$folder port=$pooler->{port} user=$user dbname=$database";
}

# (exit status, output, stderr) of psql through a pooler.
sub by_psql
{
	my ($pooler, $sql, $user, $database, @more) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run([ $node->installed_command('psql'), '-XAq', @more, '-d', through($pooler, $user, $database), '-c', $sql ],
		'<', File::Spec->devnull, '>', \$out, '2>', \$err, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return ($? >> 8, $out, $err);
}

# A command of the console; its rows as hashes.
sub admin
{
	my ($pooler, $command) = @_;
	my ($rc, $out, $err) = by_psql($pooler, $command, 'postgres', 'pgbouncer', '-P', 'footer=off');

	die "$command: $err" if $rc != 0;
	my ($names, @rows) = map { [ split /\|/, $_, -1 ] } split /\n/, $out;
	return map { my %row; @row{@$names} = @$_; \%row } @rows;
}

# How many connections to the server it has for the application.
sub servers
{
	my ($pooler) = @_;
	my $n = 0;

	foreach my $pool (grep { $_->{user} eq 'app' } admin($pooler, 'SHOW POOLS'))
	{
		$n += $pool->{$_} foreach grep { /^sv_/ && !/login/ } keys %$pool;
	}
	return $n;
}

# Has seen that the server has ended its connections.
sub notices
{
	my ($pooler) = @_;
	poll('pgbouncer sees the end of its connections', sub { servers($pooler) == 0 });
	return;
}

sub client { return Wire->connect($_[0], user => 'app', database => 'shop') }

my $written = 0;

sub insert { my ($what) = @_; return "INSERT INTO app.t VALUES ('$what')" }

# The SQLSTATE of a write, '' where it is done.
sub write_by
{
	my ($client, $what) = @_;
	my $error = $client->query(insert($what));

	$written++ unless $error;
	return $error ? $error->{C} : '';
}

sub freeze { my ($call) = @_; return sql($node, "SELECT $call") }

sub thaw
{
	my ($id) = @_;
	return sql($node, "SELECT coalesce(held::text, 'unknown') FROM thaw($id)");
}

# ---- gate ------------------------------------------------------------------

sub gates
{
	my ($pooler) = @_;
	my $mode = $pooler->{mode};
	my $c = client($pooler);

	is(write_by($c, 'before'), '', "$mode pooling: a client writes");
	my $id = freeze(q{freeze_role('app', strategy => 'gate')});
	$c->send(insert('waits'));
	wait_until($node, 'SELECT waiters = 1 FROM freeze_status');
	ok($c->idle, "$mode, gate: its write waits");
	is(client($pooler)->value('SELECT count(*) FROM app.t'), $written, "$mode, gate: another one reads");
	is(thaw($id), 'true', "$mode, gate: held");
	is($c->ready, undef, "$mode, gate: the write goes on at the thaw, in the same connection");
	$written++;

	$id = freeze(q{freeze_role('app', strategy => 'gate', action => 'reject')});
	is(write_by($c, 'refused'), '25006', "$mode, gate, reject: a write is refused");
	is($c->value('SELECT count(*) FROM app.t'), $written, "$mode, gate, reject: the connection is good for reads");
	thaw($id);
	is(write_by($c, 'after'), '', "$mode, gate, reject: and for writes after the thaw");

	$id = freeze(q{freeze_role('app', strategy => 'gate', action => 'reject', mode => 'all')});
	is($c->query('SELECT count(*) FROM app.t')->{C}, '55P03', "$mode, gate, all: a read is refused");
	thaw($id);
	is(write_by($c, 'after all'), '', "$mode, gate, all: the same connection goes on after the thaw");
	$c->close;
	return;
}

# ---- read_only -------------------------------------------------------------

sub read_only
{
	my ($pooler) = @_;
	my $mode = $pooler->{mode};
	my $kept = $mode eq 'transaction';
	my $c = client($pooler);

	write_by($c, 'before read_only');
	my $id = freeze(q{freeze_role('app', strategy => 'read_only')});
	notices($pooler);
	if (!$kept)
	{
		is($c->query('SELECT 1')->{C}, '57P01', "$mode, read_only: a client that had a session of its own has lost it");
		$c = client($pooler);
	}
	is(write_by($c, 'read only'), '25006', "$mode, read_only: " . ($kept ? 'an open' : 'a new') . ' connection is read-only');
	is($c->value('SELECT count(*) FROM app.t'), $written, "$mode, read_only: and reads");
	if (!$kept)
	{
		my $pid = $c->value('SELECT pg_backend_pid()');
		$c->value('SET default_transaction_read_only = off');
		$c->close;
		poll('pgbouncer has its session back', sub { !grep { $_->{sv_active} } grep { $_->{user} eq 'app' } admin($pooler, 'SHOW POOLS') });
		$c = client($pooler);
		is($c->value('SELECT pg_backend_pid()'), $pid, "$mode, read_only: the next client gets the session of one who has overridden it");
		is(write_by($c, 'after a reset'), '25006', "$mode, read_only: and it is read-only, by server_reset_query");
	}
	is(thaw($id), 'unknown', "$mode, read_only: thawed");
	notices($pooler);
	if (!$kept)
	{
		is($c->query('SELECT 1')->{C}, '57P01', "$mode, read_only: a session that began in the freeze is ended at the thaw");
		$c = client($pooler);
	}
	is(write_by($c, 'after read_only'), '', "$mode, read_only: " . ($kept ? 'the same' : 'a new') . ' connection writes after the thaw');
	$c->close;
	return;
}

# ---- disconnect ------------------------------------------------------------

sub disconnect
{
	my ($pooler, $call, $what) = @_;
	my $mode = $pooler->{mode};
	my $kept = $mode eq 'transaction';
	my $c = client($pooler);
	my $log = -s $pooler->{log};
	my (@waiting, $refused);

	write_by($c, "before $what");
	my $id = freeze($call);
	notices($pooler);
	if (!$kept)
	{
		is($c->query('SELECT 1')->{C}, '57P01', "$mode, $what: a client that had a session of its own has lost it");
	}
	# comes before a login has failed
	$c->send(insert("$what, waits")) if $kept;
	foreach my $i (1 .. 5)
	{
		my %psql = (out => '', err => '');
		$psql{run} = IPC::Run::start([ $node->installed_command('psql'), '-XAtq', '-d', through($pooler, 'app', 'shop'), '-c', insert("$what, login $i") ],
			'<', File::Spec->devnull, '>', \$psql{out}, '2>', \$psql{err}, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
		push @waiting, \%psql;
	}
	poll('pgbouncer is refused', sub { substr(slurp_file($pooler->{log}), $log) =~ /is frozen, no login until it is thawed/ });
	# it says so itself, until a login succeeds
	my ($rc, undef, $err) = by_psql($pooler, insert('too late'), 'app', 'shop');
	isnt($rc, 0, "$mode, $what: who comes later does not get through");
	like($err, qr/server login has been failing|no login until it is thawed/, "$mode, $what: and is told so");
	is(sql($node, 'SELECT count(*) FROM app.t', db => 'shop'), $written, "$mode, $what: nothing is written") if $what =~ /role/;
	thaw($id);

	if ($kept)
	{
		# a pgbouncer that does not let it wait has to say so
		my $error = $c->ready;
		if ($error)
		{
			like($error->{M}, qr/server login has been failing/, "$mode, $what: the client was told, and not left alone");
		}
		else
		{
			$written++;
			pass("$mode, $what: who waited goes on after the thaw, in the same connection");
		}
	}
	foreach my $psql (@waiting)
	{
		$psql->{run}->finish;
		if ($psql->{run}->result(0) == 0)
		{
			$written++;
		}
		elsif ($psql->{err} !~ /server login has been failing|no login until it is thawed/)
		{
			fail("$mode, $what: a login is lost: $psql->{err}");
		}
	}
	# within server_login_retry
	poll('somebody gets in again', sub { (by_psql($pooler, 'SELECT 1', 'app', 'shop'))[0] == 0 });
	my @lost = grep { $_ ne '' } map { (by_psql($pooler, insert("$what, after $_"), 'app', 'shop'))[2] } 1 .. 10;
	is("@lost", '', "$mode, $what: no login is lost after that");
	$written += 10 - @lost;
	is(sql($node, 'SELECT count(*) FROM app.t', db => 'shop'), $written, "$mode, $what: what clients were told is what there is");
	return;
}

# ---- under load ------------------------------------------------------------

# pgbench through it, each client until it has done its part; "cycle" is called
# again and again meanwhile.
sub load
{
	my ($pooler, $what, $cycle) = @_;
	my ($clients, $each, $cycles) = (8, 600, 0);
	my ($out, $err) = ('', '');
	my $script = "$folder/load.sql";
	my $sum = sub { sql($node, 'SELECT sum(n) FROM app.counters', db => 'shop') };

	sql($node, 'UPDATE app.counters SET n = 0', db => 'shop');
	append_to_file($script, "UPDATE app.counters SET n = n + 1 WHERE id = :client_id + 1;\n\\sleep 1 ms\n") unless -e $script;
	my $pgbench = IPC::Run::start(
		[ $node->installed_command('pgbench'), '-n', '-c', $clients, '-j', 2, '-t', $each, '-f', $script, through($pooler, 'app', 'shop') ],
		'<', File::Spec->devnull, '>', \$out, '2>', \$err, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	poll('pgbench runs', sub { $sum->() > 0 });
	while ($cycles < 4 && $sum->() < $clients * $each)
	{
		$cycle->($sum);
		$cycles++;
		$pgbench->pump_nb;
	}
	ok($pgbench->finish, "$pooler->{mode}, $what: no client of pgbench is lost") or diag($err);
	is($sum->(), $clients * $each, "$pooler->{mode}, $what: each has done all of its work");
	cmp_ok($cycles, '>', 0, "$pooler->{mode}, $what: frozen meanwhile") and note("$cycles cycles");
	return;
}

sub still
{
	my ($what, $sum) = @_;
	my $first = $sum->();

	usleep(20_000);
	is($sum->(), $first, "$what: nothing is committed while it is frozen");
	return;
}

# ---- all of it -------------------------------------------------------------

my %pooler = map { $_ => start_pooler($_) } qw(transaction session);

foreach my $pooler (@pooler{qw(transaction session)})
{
	gates($pooler);
	read_only($pooler);
	disconnect($pooler, q{freeze_role('app', mode => 'all', strategy => 'disconnect')}, 'disconnect of the role');
	disconnect($pooler, q{freeze_database('shop', mode => 'all', strategy => 'disconnect')}, 'disconnect of the database');
	load($pooler, 'gate', sub {
		my $id = freeze(q{freeze_role('app', strategy => 'gate')});
		still('gate', $_[0]);
		thaw($id);
	});
}
foreach my $call (q{freeze_role('app', mode => 'all', strategy => 'disconnect')}, q{freeze_role('app', strategy => 'read_only')})
{
	my ($strategy) = $call =~ /strategy => '(\w+)'/;
	load($pooler{transaction}, "$strategy between PAUSE and RESUME", sub {
		admin($pooler{transaction}, 'PAUSE shop');
		my $id = freeze($call);
		still($strategy, $_[0]);
		thaw($id);
		admin($pooler{transaction}, 'RESUME shop');
	});
}

is(sql($node, q{SELECT rolcanlogin FROM pg_roles WHERE rolname = 'app'}), 't', 'the role may log in');
is(sql($node, q{SELECT count(*) FROM pg_db_role_setting}), 0, 'no setting is left');
is(join(',', live($node)), '', 'nothing is frozen');

done_testing();
