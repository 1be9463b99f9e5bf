# The way out when nobody can log in: a file pg_freeze.thaw in the data directory
# and a reload or a start; and what else brings back what is closed.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

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

foreach my $preload (0, 1)
{
	my $how = $preload ? 'preloaded' : 'not preloaded';
	my $node = new_server("node$preload", conf => $preload ? "shared_preload_libraries = 'pg_freeze'\n" : '');
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

	unlike(slurp_file($node->logfile), qr/PANIC|TRAP|XX000/, "$how: nothing strange is in the log");
	$node->stop;
}

done_testing();
