# Logins that the server refuses because of a freeze by strategy disconnect: with
# pg_freeze preloaded they are told so, after authentication and before the
# client is told that it succeeded; nobody else is.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main', streaming => 1, conf => q{
shared_preload_libraries = 'pg_freeze'
pg_freeze.strategy = 'disconnect'
pg_freeze.on_drain_timeout = 'terminate'
pg_freeze.exempt_roles = 'watcher'
log_line_prefix = '%m [%p] %e %q%a '
});
my $other = new_server('other');

# "in" once the session is ready, or the first error's SQLSTATE; with a password: it is sent when asked for.
sub outcome
{
	my ($socket, $password) = @_;

	while (1)
	{
		my ($type, $body) = next_message($socket);
		return 'in' if $type eq 'Z';
		return login_result($type, $body) if $type eq 'E';
		if ($type eq 'R' && $body eq pack('N', 3))
		{
			$socket->print('p' . pack('N', 5 + length $password) . "$password\0");
			$socket->flush;
		}
	}
}

sub login { return outcome(start_login($node, @_)); }

sub freeze { return sql($node, "SELECT freeze_@_"); }

sub thaw
{
	sql($node, "SELECT thaw($_)") foreach @_;
	return;
}

my $here = $node->connstr('postgres');

sql($node, q{
CREATE EXTENSION pg_freeze;
CREATE ROLE shop LOGIN PASSWORD 'secret';
CREATE ROLE slow LOGIN PASSWORD 'secret';
CREATE ROLE agent LOGIN IN ROLE shop;
CREATE ROLE reader LOGIN;
CREATE ROLE watcher LOGIN;
CREATE ROLE streamer LOGIN REPLICATION;
CREATE ROLE boss LOGIN SUPERUSER;
CREATE ROLE locked NOLOGIN;
});
sql($node, 'CREATE DATABASE store');
sql($other, 'CREATE ROLE shop LOGIN');
sql($other, 'CREATE EXTENSION pg_freeze');

my $hba = slurp_file($node->data_dir . '/pg_hba.conf');
unlink $node->data_dir . '/pg_hba.conf';
$node->append_conf('pg_hba.conf', "local all shop scram-sha-256\nlocal all slow password\n$hba");
$node->reload;
wait_until($node, q{SELECT count(*) > 0 FROM pg_hba_file_rules WHERE auth_method = 'password'});

# --- a role -----------------------------------------------------------------

my $app = "$here user=shop password=secret";
my $id = freeze(q{role('shop', mode => 'all', reason => 'cut-over', thaw_after => '1 hour')});
my $before = log_size($node);
my ($out, $err) = connect_by($node, $app);
is($out, '', 'the role does not get in');
like($err, qr/FATAL:  role shop is frozen, no login until it is thawed\nDETAIL:  Freeze $id of database postgres, made by \S+, in force since \S+ \S+, until \S+ \S+\. Reason: cut-over\./,
	'it is told why, by whom and until when');
like($err, qr/HINT:  .*thaw\($id, home => 'postgres'\)/, 'and what ends it');
ok($node->log_contains(qr/57P03 .*FATAL:  role shop is frozen/, $before), 'with SQLSTATE 57P03');
($out, $err) = connect_by($node, "$here user=shop password=wrong");
like($err, qr/password authentication failed/, 'who fails to authenticate gets that error');
unlike($err, qr/frozen/, 'and learns nothing of the freeze');
is(login_result(next_message(start_login($node, 'shop', database => 'postgres'))), 'R', 'who has a password is asked for it first');
like((connect_by($node, "$here user=nobody_there"))[1], qr/role "nobody_there" does not exist/, 'as does a role that does not exist');
is(login('locked', database => 'postgres'), '28000', 'a role that may not log in and is not frozen hears the words of the server');
is(login('reader', database => 'nowhere'), '3D000', 'as does one that wants no database');
is(login($_, database => 'postgres'), 'in', "$_ gets in") for qw(agent reader boss watcher);

($out, $err) = connect_by($node, sprintf('host=%s,%s port=%d,%d dbname=postgres user=shop password=secret target_session_attrs=any',
		$node->host, $other->host, $node->port, $other->port), 'SHOW port');
is($out, $other->port, 'libpq goes on to the next host') || diag($err);

# the server lets in: so does the hook
sql($node, 'ALTER ROLE shop LOGIN');
is((connect_by($node, $app))[0], 'shop', 'somebody has given the login back: it gets in');
sql($node, 'ALTER ROLE shop NOLOGIN');
like((connect_by($node, $app))[1], qr/role shop is frozen/, 'and taken it again');

# the last freeze is the one that counts
my $next = freeze(q{role('shop', mode => 'all', thaw_after => '2 hours')});
like((connect_by($node, $app))[1], qr/DETAIL:  Freeze $next /, 'of two freezes it is told the one that lasts longer');
my $last = freeze(q{role('shop', mode => 'all')});
like((connect_by($node, $app))[1], qr/DETAIL:  Freeze $last .*, no deadline\./, 'one without a deadline lasts longest');
thaw($next, $last);
like((connect_by($node, $app))[1], qr/DETAIL:  Freeze $id /, 'then the other one again');

# without the file from which a backend learns of the shared catalogs
unlink $node->data_dir . '/global/pg_internal.init' or die "no init file: $!";
like((connect_by($node, $app))[1], qr/role shop is frozen/, 'it needs no index of a shared catalog');
unlink $node->data_dir . '/global/pg_internal.init';
is(login('reader', database => 'postgres'), 'in', 'nor to let in');

# the journals are read again after a start
$node->restart;
my $end = time + $PostgreSQL::Test::Utils::timeout_default;
do { (undef, $err) = connect_by($node, $app) } while ($err !~ /is frozen/ && time < $end);
like($err, qr/role shop is frozen, no login until it is thawed\nDETAIL:  Freeze $id /, 'after a restart it is told so too');
sql($node, 'ALTER ROLE shop LOGIN');
thaw($id);
is((connect_by($node, $app))[0], 'shop', 'after the thaw it gets in');

# --- what the catalogs say when the client answers ----------------------------

my $socket = start_login($node, 'slow', database => 'postgres');
my ($type, $body) = next_message($socket);
is($type . unpack('N', $body), 'R3', 'a client is asked for its password');
$id = freeze(q{role('slow', mode => 'all')});
$socket->print('p' . pack('N', 11) . "secret\0");
$socket->flush;
is(outcome($socket), '57P03', 'and answers after the freeze');
$socket = start_login($node, 'slow', database => 'postgres');
next_message($socket);
thaw($id);
$socket->print('p' . pack('N', 11) . "secret\0");
$socket->flush;
is(outcome($socket), 'in', 'another one after the thaw');

# --- the drain ----------------------------------------------------------------

{
	my $session = open_session($node, user => 'reader');
	$session->query_safe('BEGIN; SELECT 1');
	my $freeze = start_sql($node, q{SELECT freeze_role('reader', mode => 'all', drain_timeout => '3min')});
	wait_until($node, q{SELECT count(*) = 1 FROM freeze_status WHERE state = 'draining'});
	like((connect_by($node, "$here user=reader"))[1], qr/FATAL:  role reader is frozen, no login until it is thawed\nDETAIL:  Freeze \d+ of database postgres, made by \S+, no deadline/,
		'while a session is waited for nobody gets in');
	$session->query('COMMIT');
	is((finish_sql($freeze))[0], '', 'the transaction is over: frozen');
	thaw(live($node));
	eval { $session->quit };
}

# --- a role that could not log in before ----------------------------------------

{
	my $session = start_login($node, 'agent', database => 'postgres');
	is(outcome($session), 'in', 'a session');
	sql($node, 'ALTER ROLE agent NOLOGIN');
	$id = freeze(q{role('agent', mode => 'all')});
	is(login('agent', database => 'postgres'), '28000', 'a role that the thaw will not let in hears the words of the server');
	thaw($id);
	sql($node, 'ALTER ROLE agent LOGIN');
}

# --- a database ---------------------------------------------------------------

$id = freeze(q{database('store', mode => 'all')});
like((connect_by($node, $node->connstr('store') . ' user=reader'))[1],
	qr/FATAL:  database store is frozen, no login until it is thawed\nDETAIL:  Freeze $id of database postgres, /, 'a frozen database');
is(login($_, database => 'store'), '57P03', "$_ is refused, as the server does it") for qw(reader boss watcher);
is(login('reader', database => 'postgres'), 'in', 'another database is open');
like((connect_by($node, "$here user=streamer replication=true", 'IDENTIFY_SYSTEM'))[0], qr/^\d+\|/, 'a walsender gets in');
unlink $node->data_dir . '/global/pg_internal.init';
is(login('reader', database => 'store'), '57P03', 'it needs no index of pg_database');
sql($node, 'ALTER DATABASE store RENAME TO depot');
is(login('reader', database => 'depot'), '57P03', 'a new name does not matter');
sql($node, 'ALTER DATABASE depot RENAME TO store');
sql($node, 'ALTER DATABASE store ALLOW_CONNECTIONS true');
is(login('reader', database => 'store'), 'in', 'somebody has opened it: who logs in gets in');
thaw($id);
is(login('reader', database => 'store'), 'in', 'after the thaw too');

# --- the cluster ----------------------------------------------------------------

$id = freeze(q{cluster(mode => 'all')});
like((connect_by($node, "$here user=reader"))[1], qr/FATAL:  the cluster is frozen, no login until it is thawed\nDETAIL:  Freeze $id /, 'the cluster');
is(login('agent', database => 'store'), '57P03', 'in any database');
is(login('locked', database => 'postgres'), '28000', 'a role that could not log in before hears the words of the server');
is(login($_, database => 'postgres'), 'in', "$_ gets in") for qw(boss watcher streamer);
sql($node, 'ALTER ROLE streamer NOLOGIN');
is(login('streamer', database => 'postgres'), '28000', 'who is left alone by the freeze and may not log in hears the words of the server');
thaw($id);
is(login('reader', database => 'postgres'), 'in', 'after the thaw everybody gets in');

# --- CONNECT to one database ------------------------------------------------------

sql($node, q{REVOKE CONNECT ON DATABASE store FROM PUBLIC; GRANT CONNECT ON DATABASE store TO reader; CREATE ROLE readers});
sql($node, 'CREATE EXTENSION pg_freeze', db => 'store');
$id = sql($node, q{SET pg_freeze.disconnect_role = 'connect'; SELECT freeze_role('reader', mode => 'all')}, db => 'store');
like((connect_by($node, $node->connstr('store') . ' user=reader'))[1],
	qr/FATAL:  role reader is frozen, no login until it is thawed\nDETAIL:  Freeze $id of database store, /, 'a role that may not connect to one database');
is(login('reader', database => 'postgres'), 'in', 'it gets into another one');
is(login('agent', database => 'store'), '42501', 'a role that never had CONNECT hears the words of the server');
sql($node, 'GRANT CONNECT ON DATABASE store TO readers; GRANT readers TO reader');
is(login('reader', database => 'store'), 'in', 'CONNECT by a membership: it gets in');
sql($node, 'REVOKE readers FROM reader');
is(login('reader', database => 'store'), '57P03', 'and without not');
sql($node, 'GRANT CONNECT ON DATABASE store TO PUBLIC');
is(login('reader', database => 'store'), 'in', 'CONNECT by way of PUBLIC: it gets in');
sql($node, 'REVOKE CONNECT ON DATABASE store FROM PUBLIC');
sql($node, 'ALTER ROLE reader SUPERUSER');
is(login('reader', database => 'store'), 'in', 'as a superuser it gets in');
sql($node, 'ALTER ROLE reader NOSUPERUSER');
sql($node, "SELECT thaw($id)", db => 'store');
is(login('reader', database => 'store'), 'in', 'after the thaw it gets in');
$id = sql($node, q{SET pg_freeze.disconnect_role = 'connect'; SELECT freeze_role('reader', mode => 'all')}, db => 'store');
is(login('reader', database => 'store'), '57P03', 'owning the database doesn\'t let it in');
sql($node, "SELECT thaw($id)", db => 'store');

# --- not preloaded ------------------------------------------------------------------

$id = sql($other, q{SELECT freeze_role('shop', mode => 'all', strategy => 'disconnect')});
like((connect_by($other, $other->connstr('postgres') . ' user=shop'))[1], qr/FATAL:  role "shop" is not permitted to log in/,
	'not preloaded: the words of the server');
sql($other, "SELECT thaw($id)");
is((connect_by($other, $other->connstr('postgres') . ' user=shop'))[0], 'shop', 'and in after the thaw');

done_testing();
