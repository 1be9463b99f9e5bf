# Strategy gate and servers that were standbys: the state file that came with a
# backup means nothing there, and pg_freeze.on_promote decides.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $insert = 'INSERT INTO app.writes (who) VALUES (1)';
my $read = 'SELECT count(*) >= 0 FROM app.writes';

sub gate_file { my ($node) = @_; return $node->data_dir . '/pg_freeze.gates'; }

# Polls until a server that is being promoted lets app write or says that it may not.
sub first_answer
{
	my ($node, %opt) = @_;
	my $end = time + $PostgreSQL::Test::Utils::timeout_default;

	while (time < $end)
	{
		my ($state, undef, $err) = try_sql($node, $insert, user => 'app', %opt);
		return $state unless $state =~ /^08|^57P0[123]/ || ($state eq '25006' && $err !~ /frozen/);
		usleep(2000);
	}
	return 'none';
}

sub new_primary
{
	my ($name, $conf) = @_;
	my $primary = new_server($name, streaming => 1,
		conf => "shared_preload_libraries = 'pg_freeze'\nwal_keep_size = 256MB\nrestart_after_crash = on\n$conf");

	make_application($primary);
	sql($primary, 'CREATE DATABASE second');
	make_application($primary, db => 'second', roles_exist => 1);
	sql($primary, 'CREATE DATABASE without');
	return $primary;
}

sub new_standby
{
	my ($name, $primary, $backup) = @_;
	my $standby = PostgreSQL::Test::Cluster->new($name);

	$standby->init_from_backup($primary, $backup, has_streaming => 1);
	$standby->start;
	return $standby;
}

# Not promoted, a standby lets read whom it would let read anyway.
sub check_standby
{
	my ($standby, $what) = @_;

	is((try_sql($standby, $_ eq 'app' ? $read : 'SELECT 1', user => $_))[0], '', "$what: $_ reads") foreach (qw(app reader caller));
	is((try_sql($standby, $read, user => 'app', db => 'second'))[0], '', "$what: app reads in the other database");
	is(sql($standby, q{SELECT count(*) FROM freeze_status WHERE in_force}), '0', "$what: nothing is said to be in force");
	return;
}

foreach my $keep (0, 1)
{
	my $name = $keep ? 'keep' : 'lost';
	my $old = new_primary("${name}_old", $keep ? "pg_freeze.on_promote = 'keep'\n" : '');
	my $passing = sql($old, q{SELECT freeze_role('agent', strategy => 'gate', action => 'reject')});
	my $role = sql($old, q{SELECT freeze_role('app', strategy => 'gate', action => 'reject', reason => 'failover')});
	my $all = sql($old, q{SELECT freeze_role('reader', mode => 'all', strategy => 'gate', action => 'reject')}, db => 'second');

	# a backup taken while frozen has the state file; what is in it grows old
	$old->backup('frozen');
	sql($old, "SELECT thaw($passing)");
	my $new = new_standby("${name}_new", $old, 'frozen');
	$old->wait_for_catchup($new);
	check_standby($new, "$name: a standby from a backup taken while frozen");

	my $session = open_session($new, user => 'app');
	is($session->query($read), 't', "$name: a session on the standby");
	my $rows = sql($new, 'SELECT count(*) FROM app.writes');
	my $log = log_size($new);

	# cleanly, so that the old one can follow the new one
	$old->stop;
	$new->promote;
	if ($keep)
	{
		is(first_answer($new), '25006', 'keep: the first thing the role hears is that it is frozen');
		$session->{stderr} = '';
		$session->query($insert);
		like($session->{stderr}, qr/role app is frozen/, 'keep: and so a session from before the promotion');
		isnt((try_sql($new, 'SELECT 1', user => 'reader', db => 'second'))[0], '', 'keep: the freeze of the other database is in force');
		$new->wait_for_log(qr/pg_freeze: all journals are read after the promotion/, $log);
		foreach my $try (['25006', 'app'], ['', 'agent'], ['', 'other'], ['', 'caller'])
		{
			my ($wanted, $user) = @$try;
			my ($state) = try_sql($new, $user eq 'app' ? $insert : 'INSERT INTO other.t1 (id) VALUES (1)', user => $user);
			is($state, $wanted, "keep: $user, when all journals are read");
		}
		is(sql($new, "SELECT state, in_force FROM freeze_status WHERE id = $role AND home = 'postgres'"), 'frozen|t', 'keep: in force');
		is(sql($new, "SELECT state, in_force FROM freeze_status WHERE id = $all AND home = 'second'", db => 'second'), 'frozen|t', 'keep: in the other database, too');
		is(sql($new, 'SELECT count(*) FROM app.writes'), $rows, 'keep: nothing was written');
	}
	else
	{
		is(first_answer($new), '', 'lost: the role writes at once');
		$session->{stderr} = '';
		$session->query($insert);
		is($session->{stderr}, '', 'lost: and so does a session from before the promotion');
		is((try_sql($new, 'SELECT 1', user => 'reader', db => 'second'))[0], '', 'lost: the other database is open');
		wait_until($new, "SELECT state = 'lost' FROM freeze_journal WHERE id = $role");
		wait_until($new, "SELECT state = 'lost' FROM freeze_journal WHERE id = $all", db => 'second');
		is(sql($new, "SELECT in_force FROM freeze_status WHERE id = $role AND home = 'postgres'"), 'f', 'lost: not in force');
		ok(!-e gate_file($new), 'lost: nothing is left of the state file');
	}
	$session->quit;

	# --- a restart after the promotion ------------------------------------

	$new->restart;
	is(first_answer($new), $keep ? '25006' : '', "$name: the same after a restart");
	is((try_sql($new, 'INSERT INTO other.t1 (id) VALUES (1)', user => 'other'))[0], '', "$name: and nobody else is stopped");

	# --- the old primary comes back ----------------------------------------

	ok(-e gate_file($old), "$name: the old primary has its state file");
	$old->enable_streaming($new);
	$old->set_standby_mode;
	$old->start;
	$new->wait_for_catchup($old);
	check_standby($old, "$name: the old primary as a standby");

	is(sql($new, "SELECT held FROM thaw($role)"), $keep ? 't' : 'f', "$name: whether it held");
	is(sql($new, "SELECT held FROM thaw($all)", db => 'second'), $keep ? 't' : 'f', "$name: whether it held in the other database");
	is(first_answer($new), '', "$name: thawed");
	ok(!-e gate_file($new), "$name: no state file is left");

	# --- and is promoted again ---------------------------------------------

	my $second = sql($new, q{SELECT freeze_role('agent', strategy => 'gate', action => 'reject')});
	$new->wait_for_catchup($old);
	$log = log_size($old);
	$new->stop;
	$old->promote;
	is(first_answer($old), '', "$name: a stale state file doesn't close the old primary that is one again");
	my $agent = 'INSERT INTO other.t1 (id) VALUES (1)';
	if ($keep)
	{
		is((try_sql($old, $agent, user => 'agent'))[0], '25006', 'keep: what was frozen on the new one is frozen');
		is(sql($old, "SELECT held FROM thaw($second)"), 't', 'keep: and held');
	}
	else
	{
		is((try_sql($old, $agent, user => 'agent'))[0], '', 'lost: nobody is frozen');
		wait_until($old, "SELECT state = 'lost' FROM freeze_journal WHERE id = $second");
		is(sql($old, "SELECT held FROM thaw($second)"), 'f', 'lost: and the verdict says so');
	}
	is((try_sql($old, $agent, user => 'agent'))[0], '', "$name: thawed");
	unlike(slurp_file($_->logfile), qr/PANIC|TRAP|XX000/, "$name: nothing strange is in the log") foreach ($old, $new);
	$old->stop;
}

# --- keep, before the journals are read -------------------------------------

# As long as there is a database whose journal cannot be read, the server is
# closed for all but superusers, also through a crash.
{
	my $primary = new_primary('unread_old', "pg_freeze.on_promote = 'keep'\n");
	$primary->backup('backup');
	my $standby = new_standby('unread_new', $primary, 'backup');
	# the first of two will be unreadable, so that then no gate has been made yet
	my ($unread, $home) = split /\n/, sql($primary, q{SELECT datname FROM pg_database WHERE datname IN ('second', 'without') ORDER BY ctid});
	sql($primary, 'CREATE EXTENSION pg_freeze', db => 'without');
	my $id = sql($primary, q{SELECT freeze_role('app', strategy => 'gate', action => 'reject')}, db => $home);
	$primary->wait_for_catchup($standby);
	$primary->stop;
	my $oid = sql($standby, "SELECT oid FROM pg_database WHERE datname = '$unread'");
	my $directory = $standby->data_dir . "/base/$oid";
	rename "$directory/PG_VERSION", "$directory/PG_VERSION.away" or die $!;

	$standby->promote;
	is((try_sql($standby, 'SELECT count(*) FROM other.t1', user => 'caller'))[0], '', 'a journal that cannot be read: a superuser is let in, and reads');
	is(statement_goes($standby, 'INSERT INTO other.t1 (id) VALUES (1)', user => 'caller'), 'waits', 'a journal that cannot be read: and waits to write');
	foreach my $when ('after the promotion', 'after a crash')
	{
		is(sql($standby, q{SELECT target, reason ~ 'promoted', to_thaw ~ 'thaw_cluster' FROM freeze_status WHERE id IS NULL}), 'the cluster|t|t', "a journal that cannot be read, $when: freeze_status says so");
		isnt(statement_goes($standby, $insert, user => 'app'), 'done', "a journal that cannot be read, $when: who is frozen is stopped");
		isnt(statement_goes($standby, 'INSERT INTO other.t1 (id) VALUES (1)', user => 'other'), 'done', "a journal that cannot be read, $when: and so is everybody else");
		my $session = open_session($standby);
		kill_backend($session->query('SELECT pg_backend_pid()'));
		eval { $session->quit };
		server_back($standby);
	}
	rename "$directory/PG_VERSION.away", "$directory/PG_VERSION" or die $!;
	$standby->wait_for_log(qr/pg_freeze: all journals are read after the promotion/);
	is(first_answer($standby), '25006', 'when it can: who is frozen stays so');
	is((try_sql($standby, 'INSERT INTO other.t1 (id) VALUES (1)', user => 'other'))[0], '', 'and others go on');
	is(sql($standby, "SELECT held FROM thaw($id)", db => $home), 't', 'and it held');
	$standby->stop;

	# and where nobody can repair that, a superuser can open it
	$primary->enable_streaming($standby);
	$primary->set_standby_mode;
	rename $primary->data_dir . "/base/$oid/PG_VERSION", $primary->data_dir . "/base/$oid/PG_VERSION.away" or die $!;
	$primary->start;
	$primary->promote;
	isnt(statement_goes($primary, 'INSERT INTO other.t1 (id) VALUES (1)', user => 'other'), 'done', 'a journal that cannot be read: closed for all');
	like((try_sql($primary, 'SELECT * FROM thaw_cluster(force => true)', user => 'caller'))[2], qr/NOTICE:.*the cluster is open; it was closed because this server was promoted/,
		'a journal that cannot be read: a superuser opens it');
	is((try_sql($primary, 'INSERT INTO other.t1 (id) VALUES (1)', user => 'other'))[0], '', 'a journal that cannot be read: others go on');
	# this one never heard of the thaw, and had not come to that journal yet
	is(first_answer($primary), '', 'a journal that cannot be read: whatever is frozen');
	wait_until($primary, "SELECT state = 'lost' FROM freeze_journal WHERE id = $id", db => $home);
	is(sql($primary, 'SELECT count(*) FROM freeze_status WHERE id IS NULL'), '0', 'a journal that cannot be read: the others are read then, and what they have is lost');
	$primary->stop;
}

# --- a copy by point-in-time recovery ---------------------------------------

foreach my $keep (0, 1)
{
	my $name = $keep ? 'PITR, keep' : 'PITR, lost';
	my $primary = PostgreSQL::Test::Cluster->new("pitr_$keep");
	$primary->init(has_archiving => 1, allows_streaming => 1);
	$primary->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_freeze'\nmax_worker_processes = 20\n"
		  . ($keep ? "pg_freeze.on_promote = 'keep'\n" : ''));
	$primary->start;
	make_application($primary);
	my $id = sql($primary, q{SELECT freeze_role('app', strategy => 'gate', action => 'reject')});
	$primary->backup('frozen');
	my $thawed = sql($primary, q{SELECT freeze_role('agent', strategy => 'gate', action => 'reject')});
	sql($primary, "SELECT thaw($thawed)");
	my $until = sql($primary, 'SELECT pg_create_restore_point($$here$$)');
	sql($primary, "SELECT thaw($id)");
	sql($primary, 'SELECT pg_switch_wal()');
	$primary->poll_query_until('postgres', q{SELECT archived_count > 0 AND last_archived_wal >= pg_walfile_name(pg_current_wal_lsn() - 16777216) FROM pg_stat_archiver});

	my $copy = PostgreSQL::Test::Cluster->new("pitr_copy_$keep");
	$copy->init_from_backup($primary, 'frozen', has_restoring => 1, standby => 0);
	$copy->append_conf('postgresql.conf', "recovery_target_name = 'here'\nrecovery_target_action = 'promote'\n");
	$copy->start;
	is(first_answer($copy), $keep ? '25006' : '', "$name: a copy of the time when it was frozen");
	wait_until($copy, "SELECT state = 'lost' FROM freeze_journal WHERE id = $id") unless $keep;
	is(sql($copy, "SELECT held FROM thaw($id)"), $keep ? 't' : 'f', "$name: whether it held");
	is(first_answer($copy), '', "$name: thawed");
	is(writing($primary), 'done', "$name: the original is thawed");
	$copy->stop;
	$primary->stop;
}
done_testing();
