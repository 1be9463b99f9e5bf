# The way out when nobody can log in: a file pg_freeze.thaw in the data directory
# and a reload or a start; and what else brings back what is closed.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SharedValues;
use Test::More;
use Time::HiRes qw(usleep);

my $file;
my $said = qr/LOG:  pg_freeze: because of the file pg_freeze\.thaw all that was frozen from database "(\w+)" before [-0-9: .]+ \S+ is thawed/;

sub touch { append_to_file($file, ''); utime undef, undef, $file or die $!; return; }

# Which databases' schedulers say that they heed the file.
sub heeded
{
	my ($node, $from) = @_;
	return join ' ', sort(slurp_file($node->logfile, $from) =~ /$said/g);
}

sub freeze
{
	my ($node, $what, %opt) = @_;
	return sql($node, "SELECT freeze_$what", db => $opt{db} || 'postgres');
}

sub why
{
	my ($node, $id, %opt) = @_;
	return sql($node, "SELECT state || ': ' || coalesce(end_reason, '') FROM freeze_journal WHERE id = $id", %opt);
}

sub thawed_by_file
{
	my ($node, $what, %id) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	foreach my $db (sort keys %id)
	{
		wait_until($node, "SELECT count(*) = 0 FROM freeze_status WHERE home = current_database()", db => $db);
		like(why($node, $_, db => $db), qr/^thawed: thawed because of the file pg_freeze\.thaw; .*0 skipped/, "$what: freeze $_ of $db")
		  foreach (@{ $id{$db} });
	}
	return;
}

# Polls until a role can log in; it makes no call.
sub comes_in
{
	my ($node, $role, $db) = @_;
	my $end = time + $PostgreSQL::Test::Utils::timeout_default;

	while (logs_in($node, $role, $db) eq 'no')
	{
		return 0 if time > $end;
		usleep(50_000);
	}
	return 1;
}

foreach my $preload (0, 1)
{
	my $how = $preload ? 'preloaded' : 'not preloaded';
	my $node = new_server("node$preload", conf => "restart_after_crash = on\n" . ($preload ? "shared_preload_libraries = 'pg_freeze'\n" : ''));
	my ($log, %id);
	$file = $node->data_dir . '/pg_freeze.thaw';

	make_application($node);
	sql($node, 'CREATE DATABASE second');
	make_application($node, db => 'second', roles_exist => 1);
	my %before = map { $_ => privileges($node, db => $_) } qw(postgres second);

	# --- a reload, while the only superusers can't log in -------------------

	%id = (
		postgres => [ freeze($node, q{role('app', strategy => 'revoke')}), freeze($node, q{schema('other', strategy => 'lock', thaw_after => '1 hour')}) ],
		second => [ freeze($node, q{role('app', mode => 'all', strategy => 'revoke')}, db => 'second') ]);
	push @{ $id{second} }, freeze($node, q{database('postgres', strategy => 'gate')}, db => 'second') if $preload;

	$log = log_size($node);
	$node->reload;
	is(writing($node), '42501', "$how: a reload without the file does nothing");
	touch();
	is(writing($node), '42501', "$how: nor does the file without a reload");

	my @super = split /\n/, sql($node, 'SELECT quote_ident(rolname) FROM pg_roles WHERE rolsuper');
	my $last = open_session($node, db => 'template1');
	$last->query_safe("ALTER ROLE $_ NOLOGIN") foreach (@super);
	is((try_sql($node, 'SELECT 1'))[0], '08000', "$how: superusers can't log in");
	is(heeded($node, $log), '', "$how: nothing has happened yet");
	$node->reload;
	ok(goes_on($node, db => $_), "$how: the application goes on in $_") foreach (qw(postgres second));
	$last->query_safe("ALTER ROLE $_ LOGIN") foreach (@super);
	$last->quit;
	thawed_by_file($node, $how, %id);
	same_privileges(privileges($node, db => $_), $before{$_}, "$how: all privileges are back in $_") foreach (qw(postgres second));
	is(heeded($node, $log), 'postgres second', "$how: one line for each database says so");
	ok(-e $file, "$how: the file stays where it is");

	# --- a freeze that is newer than the file -------------------------------

	$log = log_size($node);
	my $newer = freeze($node, q{role('app', strategy => 'revoke')});
	$node->wait_for_log($said, $log);
	next_call($node);
	is(sql($node, "SELECT state, in_force FROM freeze_status WHERE id = $newer AND home = 'postgres'"), 'frozen|t', "$how: a file older than the freeze does nothing");
	$node->restart;
	next_call($node);
	is(sql($node, "SELECT state, in_force FROM freeze_status WHERE id = $newer AND home = 'postgres'"), 'frozen|t', "$how: nor at a start");

	# --- from the future ----------------------------------------------------

	my $soon = time + 3;
	utime $soon, $soon, $file or die $!;
	$log = log_size($node);
	$node->reload;
	$node->wait_for_log(qr/DETAIL:  The file is from the future/, $log);
	is(sql($node, "SELECT state FROM freeze_journal WHERE id = $newer"), 'frozen', "$how: a file from the future waits");
	thawed_by_file($node, "$how: until its time", postgres => [$newer]);
	cmp_ok(sql($node, "SELECT extract(epoch FROM thawed_at) FROM freeze_journal WHERE id = $newer"), '>=', $soon, "$how: and not before");

	# --- a start ------------------------------------------------------------

	foreach my $mode (qw(fast immediate))
	{
		unlink $file or die $!;
		%id = (
			postgres => [ freeze($node, q{role('app', strategy => 'revoke')}) ],
			second => [ freeze($node, q{role('app', strategy => 'revoke', thaw_after => '1 hour')}, db => 'second') ]);
		$node->stop($mode);
		touch();
		# a server that doesn't preload pg_freeze is started so once
		$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_freeze'") unless $preload;
		$node->start;
		ok(goes_on($node, db => $_), "$how: after a start ($mode) the application goes on in $_") foreach (qw(postgres second));
		thawed_by_file($node, "$how, $mode", %id);
		same_privileges(privileges($node, db => $_), $before{$_}, "$how, $mode: all privileges are back in $_") foreach (qw(postgres second));
		next if $preload;
		$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
		$node->restart;
	}

	# --- databases that nobody can log in to ---------------------------------

	unlink $file or die $!;
	sql($node, 'CREATE DATABASE shop');
	my $before = shared_rows($node);
	my $closed = freeze($node, q{database('shop', mode => 'all', strategy => 'disconnect')}, db => 'second');
	%id = (second => [ freeze($node, q{role('app', mode => 'all', strategy => 'disconnect')}, db => 'second'),
		freeze($node, q{cluster(strategy => 'read_only')}, db => 'second') ]);
	my $reads = sub { return sql($node, 'SHOW default_transaction_read_only', user => 'agent', db => 'template1'); };

	$last = open_session($node, db => 'template1');
	$last->query_safe('SET default_transaction_read_only = off');
	is(logs_in($node, 'caller'), 'no', "$how: nobody can log in to a database that is frozen");
	sql($node, "SELECT freeze_extend($closed, '1 s')", db => 'second');
	$last->query_safe('ALTER DATABASE second ALLOW_CONNECTIONS false');
	like((try_sql($node, 'SELECT 1', db => 'second'))[2], qr/not currently accepting connections/, "$how: nor to that of its journal");
	ok(comes_in($node, 'caller', 'shop'), "$how: the scheduled thaw lets them in to the one");
	is(logs_in($node, 'app'), 'no', "$how: one without a deadline is live");
	is($reads->(), 'on', "$how: and so is the other");
	if ($preload)
	{
		my $one = shift @{ $id{second} };
		is((try_sql($node, "SELECT thaw($one, home => 'second')"))[0], '', "$how: from elsewhere it can be thawed");
		is(logs_in($node, 'app'), 'yes', "$how: the role logs in again");
	}
	$log = log_size($node);
	touch();
	$node->reload;
	$node->wait_for_log(qr/freeze $id{second}[-1] of the cluster is thawed: thawed because of the file/, $log);
	is(logs_in($node, 'app'), 'yes', "$how: because of the file the role logs in");
	is($reads->(), 'off', "$how: and the cluster writes");
	$last->query_safe('ALTER DATABASE second ALLOW_CONNECTIONS true');
	$last->quit;
	thawed_by_file($node, "$how, closed", %id);
	like(why($node, $closed, db => 'second'), qr/^thawed: thawed on schedule; 1 restored, 0 skipped/, "$how: the scheduled one was thawed on schedule");
	same_privileges(shared_rows($node), $before, "$how: roles, databases and settings are as they were");

	# --- the sleeping worker is killed, which restarts the server -------------

	if (!$preload && -r '/proc/self/cmdline')
	{
		freeze($node, q{role('app', mode => 'all', strategy => 'disconnect', thaw_after => '2 s')}, db => 'second');
		kill_backend($_) foreach (backends($node, qr/pg_freeze scheduler/));
		ok(server_back($node), 'a scheduler is killed, and the server restarts');
		ok(comes_in($node, 'app', 'shop'), 'it comes back and thaws');
		same_privileges(shared_rows($node), $before, 'everything is as it was');
	}

	# --- no worker -------------------------------------------------------------

	if (!$preload)
	{
		my $id = freeze($node, q{cluster(strategy => 'read_only')}, db => 'second');

		$node->append_conf('postgresql.conf', 'max_worker_processes = 1');
		$node->restart;
		my ($state, undef, $err) = try_sql($node, "SELECT thaw($id)", db => 'second');
		is($state, '25001', 'without a worker a read-only transaction cannot thaw');
		like($err, qr/HINT:.*READ WRITE transaction/, 'the hint says what can');
		($state, undef, $err) = try_sql($node, "BEGIN READ WRITE; SELECT thaw($id); COMMIT", db => 'second');
		is($state, '', 'and it does') || diag($err);
		same_privileges(shared_rows($node), $before, 'everything is as it was');
	}

	# --- a start that thaws all --------------------------------------------------

	if ($preload)
	{
		sql($node, 'CREATE DATABASE model IS_TEMPLATE true');
		make_application($node, db => 'model', tables => 1, roles_exist => 1);
		$before = shared_rows($node);
		freeze($node, q{role('app', strategy => 'revoke')}, db => 'model');
		freeze($node, $_, db => 'second') foreach (q{database('shop', mode => 'all', strategy => 'disconnect')},
			q{database('model', mode => 'all', strategy => 'disconnect')}, q{cluster(mode => 'all', strategy => 'disconnect')}, q{cluster(strategy => 'read_only')});
		$node->append_conf('postgresql.conf', q{pg_freeze.on_restart = 'thaw'});
		$node->restart;
		ok(comes_in($node, 'app', 'shop'), 'on_restart = thaw: the role logs in again');
		wait_until($node, q{SELECT bool_and(state = 'thawed') FROM freeze_journal}, db => $_) foreach (qw(second model));
		pass('a template that was disconnected is looked after, too');
		same_privileges(shared_rows($node), $before, 'everything is as it was');
	}

	unlike(slurp_file($node->logfile), qr/PANIC|TRAP|XX000/, "$how: nothing strange is in the log");
	$node->stop;
}

done_testing();
