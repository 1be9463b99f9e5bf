# Logins that a gate of mode all refuses: after authentication, before the
# client is told that it succeeded.

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
pg_freeze.strategy = 'gate'
pg_freeze.exempt_roles = 'watcher'
log_line_prefix = '%m [%p] %e %q%a '
});
my $other = new_server('other');

sub first_answer { return next_message(start_login($node, @_)); }

# What a login comes to: "in", its SQLSTATE, or the message's type.
sub raw_login { return login_result(first_answer(@_)); }

my $here = $node->connstr('postgres');
my $app = "$here user=app password=secret";

sql($node, q{
CREATE EXTENSION pg_freeze;
CREATE ROLE app LOGIN REPLICATION PASSWORD 'secret';
CREATE ROLE agent LOGIN IN ROLE app;
CREATE ROLE watcher LOGIN IN ROLE app;
CREATE ROLE caller LOGIN SUPERUSER IN ROLE app;
CREATE ROLE boss LOGIN SUPERUSER;
CREATE ROLE reader LOGIN;
});
sql($node, 'CREATE DATABASE shop');
sql($other, 'CREATE ROLE app LOGIN');

# app has a password, as it is with an application
my $hba = slurp_file($node->data_dir . '/pg_hba.conf');
unlink $node->data_dir . '/pg_hba.conf';
$node->append_conf('pg_hba.conf', "local all app scram-sha-256\n$hba");
$node->reload;
$node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_hba_file_rules WHERE auth_method = 'scram-sha-256'})
  or die 'no reload';

# --- nothing is frozen, or reads go on ------------------------------------

is((connect_by($node, $app))[0], 'app', 'app logs in while nothing is frozen');
is(raw_login('agent', database => 'postgres'), 'in', 'agent too');
my $id = sql($node, q{SELECT freeze_role('app')});
is((connect_by($node, $app))[0], 'app', 'mode write: app logs in');
is(raw_login('agent', database => 'postgres'), 'in', 'mode write: so does a member');
sql($node, "SELECT thaw($id)");

# --- a role ----------------------------------------------------------------

my $before = log_size($node);
my $session = open_session($node, user => 'agent');
$id = sql($node, q{SELECT freeze_role('app', mode => 'all', reason => 'cut-over', thaw_after => '1 hour')});
my ($out, $err) = connect_by($node, $app);
is($out, '', 'mode all: app does not get in');
like($err, qr/FATAL:  role app is frozen, no login until it is thawed\nDETAIL:  Freeze $id of database postgres, made by \S+, in force since \S+ \S+, until \S+ \S+\. Reason: cut-over\./,
	'it is told why, by whom and until when');
like($err, qr/HINT:  .*thaw\($id, home => 'postgres'\)/, 'and what ends it');
my ($type, $body) = first_answer('agent', database => 'postgres');
is($type, 'E', 'the error comes instead of AuthenticationOk');
like($body, qr/\0C57P03\0/, 'it has SQLSTATE 57P03');
like($body, qr/^SFATAL\0/, 'and is FATAL');
($out, $err) = connect_by($node, "$here user=app password=wrong");
like($err, qr/password authentication failed/, 'who fails to authenticate gets that error');
unlike($err, qr/frozen/, 'and learns nothing of the freeze');
is(raw_login('app', database => 'postgres'), 'R', 'who has a password is asked for it first');
like((connect_by($node, "$here user=nobody_there"))[1], qr/role "nobody_there" does not exist/, 'as does a role that does not exist');
like((connect_by($node, $node->connstr('nowhere') . ' user=reader'))[1], qr/database "nowhere" does not exist/, 'and another role in no database');
is(raw_login('reader', database => 'postgres'), 'in', 'another role gets in');
is(raw_login('caller', database => 'postgres'), 'in', 'a superuser gets in, member or not');
is(raw_login('watcher', database => 'postgres'), 'in', 'an exempt role gets in, member or not');
ok($node->log_contains(qr/57P03 .*FATAL:  role app is frozen/, $before), 'the log has the SQLSTATE');
is(raw_login('agent', database => 'postgres', replication => 'true'), 'in', 'a walsender is not refused by the gate');
like((connect_by($node, "$app replication=true", 'IDENTIFY_SYSTEM'))[0], qr/^\d+\|/, 'a walsender of the frozen role gets in');
like((connect_by($node, "$app replication=database", 'IDENTIFY_SYSTEM'))[1], qr/role app is frozen/, 'but not into a database, where it may run statements');

# libpq's next host
($out, $err) = connect_by($node, sprintf('host=%s,%s port=%d,%d dbname=postgres user=app password=secret target_session_attrs=any',
		$node->host, $other->host, $node->port, $other->port), 'SHOW port');
is($out, $other->port, 'libpq goes on to the next host') || diag($err);

# the pass
my $pass = sql($node, "SELECT freeze_pass($id)");
is((connect_by($node, "$app options='-c pg_freeze.pass=$pass'"))[0], 'app', 'the pass lets in, by -c');
is((connect_by($node, "$app options='-cpg_freeze.pass=$pass'"))[0], 'app', 'without a space');
is((connect_by($node, "$app options='-c geqo=off --pg-freeze.pass=wrong --pg_freeze.PASS=$pass'"))[0], 'app', 'by --, the last one counts')
  || diag((connect_by($node, "$app options='--pg_freeze.PASS=$pass'"))[1]);
is(raw_login('agent', database => 'postgres', 'pg_freeze.pass' => $pass), 'in', 'as a parameter of the startup packet');
is(raw_login('agent', database => 'postgres', 'pg_freeze.pass' => 'x' . substr($pass, 1)), '57P03', 'a wrong pass does not');
is(raw_login('agent', database => 'postgres', 'pg_freeze.pass' => ''), '57P03', 'nor an empty one');
is(raw_login('agent', database => 'postgres', options => "-c pg_freeze.pass=$pass -c pg_freeze.pass="), '57P03', 'nor one that is taken back');

# without the file from which a backend learns of the shared catalogs
unlink $node->data_dir . '/global/pg_internal.init' or die "no init file: $!";
is(raw_login('agent', database => 'postgres'), '57P03', 'it needs no index of a shared catalog');
unlink $node->data_dir . '/global/pg_internal.init';
is(raw_login('reader', database => 'postgres'), 'in', 'nor to let in');

is($session->query('SHOW application_name') ne '', 1, 'who was in before stays');
my ($held, $refused) = split /\|/, sql($node, "SELECT held, substring(evidence FROM '(\\d+) refused') FROM thaw($id)");
is($held, 't', 'it held');
cmp_ok($refused, '>=', 5, 'the evidence counts who was refused');
is((connect_by($node, $app))[0], 'app', 'app logs in after the thaw');
is(raw_login('agent', database => 'postgres'), 'in', 'agent too');
$session->quit;

# a superuser's own role
$id = sql($node, q{SELECT freeze_role('boss', mode => 'all')});
is(raw_login('boss', database => 'postgres'), '57P03', 'a superuser whose own role is frozen is refused');
is(raw_login('caller', database => 'postgres'), 'in', 'another superuser is not');
sql($node, "SELECT thaw($id)");

# --- a thaw that is long overdue ------------------------------------------

{
	$id = sql($node, q{SELECT freeze_role('app', mode => 'all', thaw_after => '3 s')});
	# asleep, they are connected to no database and in no view
	my @schedulers = backends($node, qr/pg_freeze (?:scheduler|launcher)/);
	cmp_ok(kill('STOP', @schedulers), '>', 0, 'nobody keeps the deadline');
	is(raw_login('agent', database => 'postgres'), '57P03', 'a scheduled freeze');
	$before = log_size($node);
	my $end = time + $PostgreSQL::Test::Utils::timeout_default;
	my $outcome;
	do
	{
		$outcome = raw_login('agent', database => 'postgres');
		# the log need not have a line for each of a busy loop
		select(undef, undef, undef, 0.2);
	} while ($outcome ne 'in' && time < $end);
	is($outcome, 'in', 'whoever logs in opens a gate that nobody else has opened');
	ok($node->log_contains(qr/freeze $id should have been thawed at/, $before), 'and the log says so');
	kill 'CONT', @schedulers;
	wait_until($node, "SELECT count(*) = 0 FROM freeze_status WHERE id = $id");
	pass('the thaw is finished later');
}

# --- a database -----------------------------------------------------------

$id = sql($node, q{SELECT freeze_database('shop', mode => 'all')});
like((connect_by($node, $node->connstr('shop') . ' user=reader'))[1],
	qr/FATAL:  database shop is frozen, no login until it is thawed\nDETAIL:  Freeze $id of database postgres, /, 'a frozen database');
is(raw_login('reader', database => 'shop'), '57P03', 'it has the SQLSTATE too');
is(raw_login('reader', database => 'postgres'), 'in', 'another database is open');
is(raw_login('caller', database => 'shop'), 'in', 'a superuser gets in');
is(raw_login('watcher', database => 'shop'), 'in', 'an exempt role gets in');
unlink $node->data_dir . '/global/pg_internal.init';
is(raw_login('reader', database => 'shop'), '57P03', 'it needs no index of pg_database');
sql($node, 'ALTER DATABASE shop RENAME TO store', user => 'boss');
is(raw_login('reader', database => 'store'), '57P03', 'a new name does not open it');
sql($node, 'ALTER DATABASE store RENAME TO shop', user => 'boss');

$node->restart;
is(raw_login('reader', database => 'shop'), '57P03', 'nor does a restart');
sql($node, "SELECT thaw($id)");
is(raw_login('reader', database => 'shop'), 'in', 'the thaw does');

# --- the cluster ----------------------------------------------------------

$id = sql($node, q{SELECT freeze_cluster(mode => 'all')});
like((connect_by($node, "$here user=reader"))[1], qr/FATAL:  the cluster is frozen, no login until it is thawed\nDETAIL:  Freeze $id /, 'the cluster');
is(raw_login('reader', database => 'shop'), '57P03', 'in any database');
is(raw_login('reader', database => 'nowhere'), '57P03', 'and in none');
is(raw_login('caller', database => 'shop'), 'in', 'a superuser gets in');
is(raw_login('watcher', database => 'shop'), 'in', 'an exempt role gets in');
like((connect_by($node, "$app replication=true", 'IDENTIFY_SYSTEM'))[0], qr/^\d+\|/, 'a walsender gets in');
$node->command_ok([ 'pg_basebackup', '-D', $node->backup_dir . '/frozen', '-d', $app, '--no-sync', '-c', 'fast' ],
	'a base backup goes on, as the application');

# what is frozen on the primary says nothing of a standby
my $standby = PostgreSQL::Test::Cluster->new('standby');
$node->backup('backup');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
is((connect_by($node, $standby->connstr('postgres') . ' user=reader'))[0], 'reader', 'a standby lets in');
$standby->stop;

sql($node, "SELECT thaw($id)");
is(raw_login('reader', database => 'shop'), 'in', 'the thaw opens it');

done_testing();
