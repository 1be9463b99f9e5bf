# Strategies disconnect and read_only, and those who are just logging in when the
# door is closed: who has looked the old values up already is waited for, though
# pg_stat_activity doesn't show him yet; who has not is not waited for, and meets
# the new ones.  And roles that are made while a freeze of the cluster drains.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use StormClient;
use Test::More;
use Time::HiRes qw(time usleep);

plan skip_all => 'the clients need Unix-domain sockets' unless $PostgreSQL::Test::Utils::use_unix_sockets;
plan skip_all => 'finds processes in /proc' unless -r '/proc/self/cmdline';

$SIG{PIPE} = 'IGNORE';
my $node = new_server('main', stopped => 1);
append_to_file($node->data_dir . '/pg_hba.new', "local all slow password\n" . slurp_file($node->data_dir . '/pg_hba.conf'));
rename $node->data_dir . '/pg_hba.new', $node->data_dir . '/pg_hba.conf' or die "rename: $!";
$node->start;
my $path = $node->host . '/.s.PGSQL.' . $node->port;
sql($node, q{
CREATE EXTENSION pg_freeze;
CREATE ROLE app LOGIN;
CREATE ROLE slow LOGIN PASSWORD 'slow';
CREATE ROLE bystander LOGIN;
CREATE DATABASE shop;
});
my $table = 'CREATE TABLE writes (who int); GRANT INSERT ON writes TO PUBLIC;';
sql($node, $table, db => $_) foreach 'postgres', 'shop';
my $insert = 'INSERT INTO writes VALUES (1)';
my $before = privileges($node);

my %calls = (
	'disconnect role' => [ q{freeze_role('%s', mode => 'all', strategy => 'disconnect'}, qr/^28000$/ ],
	'disconnect database' => [ q{freeze_database('shop', mode => 'all', strategy => 'disconnect'}, qr/^55000$/ ],
	'disconnect cluster' => [ q{freeze_cluster(mode => 'all', strategy => 'disconnect'}, qr/^28000$/ ],
	'read_only role' => [ q{freeze_role('%s', strategy => 'read_only'}, qr/^ok$/ ],
	'read_only database' => [ q{freeze_database('shop', strategy => 'read_only'}, qr/^ok$/ ],
	'read_only cluster' => [ q{freeze_cluster(strategy => 'read_only'}, qr/^ok$/ ]);

sub wait_for_title
{
	my ($title) = @_;
	my $end = time + $PostgreSQL::Test::Utils::timeout_default;

	until (backends($node, $title))
	{
		die "nobody has the title $title" if time > $end;
		usleep(1000);
	}
	return;
}

sub thaw
{
	my ($kind, $id) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $held = sql($node, "SELECT held IS DISTINCT FROM false, lost_reason FROM thaw($id)");

	is($held, 't|', "$kind: held as far as anybody knows");
	same_privileges(privileges($node), $before, "$kind: nothing is left of it");
	return;
}

foreach my $kind (sort keys %calls)
{
	my ($call, $met) = @{ $calls{$kind} };
	my $freeze = sprintf "SELECT $call, drain_timeout => '20s')", 'app';

	# He has looked up what he may and how his session is set, and is not there yet.
	my $client = StormClient::login($path, 'app', 'shop', options => '-c post_auth_delay=1');
	wait_for_title(qr/: app shop .*startup/);
	my $id = sql($node, $freeze);
	my $login = StormClient::answer($client);
	my $wrote = $login eq 'ok' ? StormClient::query($client, $insert) : 'not asked';
	note("$kind: login $login, write $wrote");
	like($login, qr/^(ok|gone|57P01)$/, "$kind: who was half in is let in, or ended");
	like($wrote, qr/^(not asked|gone|57P01)$/, "$kind: but when it is frozen he is gone");
	close $client;
	thaw("$kind, half in", $id);

	# He is asked for his password, and says nothing.
	$client = StormClient::login($path, 'slow', 'shop');
	wait_for_title(qr/: slow shop .*authentication/);
	my $asked = '';
	sysread($client, $asked, 9);
	is(unpack('a', $asked), 'R', "$kind: he is asked for his password");
	my $start = time;
	$id = sql($node, sprintf "SELECT $call, drain_timeout => '20s')", 'slow');
	cmp_ok(time - $start, '<', 10, "$kind: nobody waits for him");
	syswrite($client, pack('aNa*', 'p', 4 + 5, "slow\0"));
	$login = StormClient::answer($client);
	like($login, $met, "$kind: he meets what there is now");
	is(StormClient::query($client, $insert), '25006', "$kind: and can't write") if $login eq 'ok';
	close $client;
	thaw("$kind, asked for a password", $id);
	is(writing_as('slow'), 'ok', "$kind: later he can write");
}

sub writing_as
{
	my ($user) = @_;
	local $ENV{PGPASSWORD} = $user;
	return (try_sql($node, $insert, user => $user, db => 'shop'))[0] || 'ok';
}

# A role that is made, and logs in, while a freeze of the cluster drains.
foreach my $kind ('disconnect cluster', 'read_only database')
{
	my ($call) = @{ $calls{$kind} };
	my $writer = open_session($node, user => 'bystander', db => 'shop');
	$writer->query_safe("BEGIN; $insert;");
	my $running = start_sql($node, "SELECT $call, drain_timeout => '20s');");
	wait_until($node, q{SELECT EXISTS (SELECT FROM freeze_journal WHERE state = 'draining')});
	sql($node, 'CREATE ROLE fresh LOGIN');
	sql($node, 'ALTER ROLE fresh SET default_transaction_read_only = off');
	my $fresh = StormClient::login($path, 'fresh', 'shop');
	is(StormClient::answer($fresh), 'ok', "$kind: a new role logs in");
	is(StormClient::query($fresh, $insert), 'ok', "$kind: and writes, while the freeze drains");
	$writer->query('COMMIT;');
	my ($state, $id, $err) = finish_sql($running);
	is($state, '', "$kind: frozen") || diag($err);
	like(StormClient::query($fresh, $insert), qr/^(gone|57P01)$/, "$kind: its session is gone");
	my $again = StormClient::login($path, 'fresh', 'shop');
	my $login = StormClient::answer($again);
	is($login, $kind =~ /read_only/ ? 'ok' : '28000', "$kind: it meets the freeze");
	is(StormClient::query($again, $insert), '25006', "$kind: and can't write") if $login eq 'ok';
	close $_ foreach $fresh, $again;
	$writer->{run}->kill_kill;
	is(sql($node, "SELECT held IS DISTINCT FROM false FROM thaw($id)"), 't', "$kind: held as far as anybody knows");
	is(sql($node, q{SELECT rolcanlogin FROM pg_roles WHERE rolname = 'fresh'}), 't', "$kind: the new role may log in");
	sql($node, 'DROP ROLE fresh');
	same_privileges(privileges($node), $before, "$kind: nothing is left of it");
}

# Sessions with one transaction after the other, which are hardly ever seen idle;
# the one that they are in when the door is closed may end.
foreach my $kind ('disconnect role', 'read_only role')
{
	my $dir = PostgreSQL::Test::Utils::tempdir('busy');
	my @clients = StormClient::start($node, "$dir/stop", map { [ 'app', 'shop', 'busy', 'writes', 1 ] } 1 .. 3);
	my $writer = open_session($node, user => 'app', db => 'shop');

	wait_until($node, q{SELECT count(*) = 3 FROM pg_stat_activity WHERE application_name = 'storm busy' AND query LIKE '%pg_sleep%'});
	$writer->query_safe("BEGIN; $insert;");
	my $running = start_sql($node, sprintf "SELECT $calls{$kind}[0], drain_timeout => '20s')", 'app');
	# they are ended while he is waited for
	wait_until($node, q{SELECT (SELECT count(*) FROM freeze_journal_session s WHERE freeze_id = (SELECT max(id) FROM freeze_journal) AND application = 'storm busy') >= 3});
	is($writer->query('COMMIT; SELECT 1;'), '1', "$kind: who was in a transaction when the door was closed may end it");
	my ($state, $id, $err) = finish_sql($running);
	is($state, '', "$kind: busy sessions are ended when they have begun another transaction") || diag($err);
	append_to_file("$dir/stop", '');
	my @events = StormClient::finish(@clients);
	my @first = map { my $file = $_; (grep { $_->{file} eq $file && $_->{what} eq 'statement' } @events)[0] } map { $_->{file} } @clients;
	is(join(' ', map { $_->{outcome} } @first), 'ok ok ok', "$kind: and not before");
	$writer->{run}->kill_kill;
	thaw("$kind, busy", $id);
}

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|XX000/, 'nothing strange is in the log');
done_testing();
