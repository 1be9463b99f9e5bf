# Strategies disconnect and read_only under connection storms: hundreds of logins
# per second, beside sessions that stay.  Between "frozen" and thaw nobody of the
# target is there (disconnect) or writes (read_only); nobody is kept out after
# thaw() has returned; who isn't meant notices nothing; and the catalogs that all
# databases share are afterwards what they were, to the byte.
#
# PF_SECONDS (9) makes it longer, PF_ROUNDS chooses among the rounds.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use List::Util qw(max min sum0);
use POSIX ();
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use StormClient;
use Test::More;
use Time::HiRes qw(time usleep);
use Time::Local qw(timegm);

plan skip_all => 'the clients need Unix-domain sockets' unless $PostgreSQL::Test::Utils::use_unix_sockets;

my $seconds = $ENV{PF_SECONDS} || 9;
my $dir = PostgreSQL::Test::Utils::tempdir('storm');

my $node = new_server('main', conf => q{
max_connections = 200
autovacuum = off
track_commit_timestamp = on
log_statement = none
log_disconnections = on
log_timezone = UTC
wal_keep_size = '2GB'
});
sql($node, q{
CREATE EXTENSION pg_freeze;
CREATE ROLE app LOGIN CONNECTION LIMIT 150;
CREATE ROLE bystander LOGIN;
CREATE ROLE boss LOGIN SUPERUSER;
CREATE DATABASE shop CONNECTION LIMIT 180;
REVOKE CONNECT ON DATABASE postgres FROM PUBLIC;
GRANT CONNECT ON DATABASE postgres TO app, bystander;
-- what has to be found again: settings beside, with and without a value
ALTER ROLE app SET work_mem = '5MB';
ALTER ROLE app SET default_transaction_read_only = off;
ALTER ROLE app SET statement_timeout = '1h';
ALTER ROLE app IN DATABASE shop SET default_transaction_read_only = off;
ALTER ROLE bystander IN DATABASE shop SET lock_timeout = '1h';
ALTER DATABASE shop SET work_mem = '6MB';
});
foreach my $db ('postgres', 'shop')
{
	foreach my $role ('app', 'bystander', 'boss')
	{
		sql($node, qq{
CREATE SCHEMA $role AUTHORIZATION $role;
SET ROLE $role;
CREATE TABLE $role.writes (id int GENERATED ALWAYS AS IDENTITY, who int, at timestamptz DEFAULT clock_timestamp());
}, db => $db);
	}
}

# All columns of what a freeze may have changed, as text.
my @shared = qw(pg_authid pg_database pg_db_role_setting pg_auth_members pg_shseclabel pg_seclabel pg_shdepend);
my $catalogs = 'SELECT catalog, line FROM (' . join(' UNION ALL ', map { "SELECT '$_' AS catalog, c::text AS line FROM pg_catalog.$_ c" } @shared)
  . q{) x ORDER BY catalog COLLATE "C", line COLLATE "C"};
my $before = sql($node, $catalogs);
my $dba = open_dba($node);

sub quantile
{
	my ($q, @values) = @_;
	@values = sort { $a <=> $b } @values;
	return @values ? $values[ min($#values, int($q * @values)) ] : 0;
}

sub figures { return @_ ? sprintf('%.0f/%.0f/%.0f ms', quantile(0.5, @_), quantile(0.9, @_), max(@_)) : 'none'; }

# Stops some of the target's processes wherever they are, many of them in their
# login, and lets them go on a while after this one has begun to freeze.
sub stop_some
{
	my ($pattern) = @_;
	my @pids = backends($node, $pattern);
	my @some = grep { kill 'STOP', $_ } map { @pids ? splice(@pids, rand @pids, 1) : () } 1 .. 3;
	my $child = fork;

	die "fork: $!" unless defined $child;
	if ($child == 0)
	{
		usleep(50_000 + rand(150_000));
		kill 'CONT', @some;
		POSIX::_exit(0);
	}
	return ($child, scalar @some);
}

# Waits until the clients have written down some more.
sub they_go_on
{
	my ($bytes, @clients) = @_;
	my $size = sub { sum0(map { -s $_->{file} || 0 } @clients) };
	my $enough = $size->() + $bytes;
	my $end = time + $PostgreSQL::Test::Utils::timeout_default;

	until ($size->() >= $enough)
	{
		die 'the clients stand still' if time > $end;
		usleep(1000);
	}
	return;
}

# Waits until each client has logged in.
sub they_are_there
{
	my $end = time + $PostgreSQL::Test::Utils::timeout_default;

	foreach my $client (@_)
	{
		until (-s $client->{file})
		{
			die 'a client does not come' if time > $end;
			usleep(1000);
		}
	}
	return;
}

# The sessions of the target that were let in and ended inside of a hold, as the
# server's log has it: [ line, ... ].
sub sessions_inside
{
	my ($from, $is_target, @holds) = @_;
	my @inside;

	foreach my $line (split /\n/, slurp_file($node->logfile, $from))
	{
		my ($y, $mo, $d, $h, $mi, $s, $dh, $dm, $ds, $user, $db) =
		  $line =~ /^(\d+)-(\d+)-(\d+) (\d+):(\d+):([\d.]+) .*disconnection: session time: (\d+):(\d+):([\d.]+) user=(\w+) database=(\w+)/ or next;
		next unless $is_target->({ user => $user, database => $db });
		my $ended = timegm(0, $mi, $h, $d, $mo - 1, $y) + $s;
		my $began = $ended - 3600 * $dh - 60 * $dm - $ds;
		# both are rounded to a millisecond
		push @inside, $line if grep { $began > $_->{frozen_at} + 0.002 && $ended < $_->{thawed_at} - 0.002 } @holds;
	}
	return @inside;
}

# call: what freezes, to be completed; target: whose clients are meant; clients:
# beside the target's short ones.
sub round
{
	my ($name, %opt) = @_;
	return if $ENV{PF_ROUNDS} && $name !~ /$ENV{PF_ROUNDS}/;
	my $is_target = $opt{target};
	my $read_only = $opt{strategy} eq 'read_only';
	my $log_from = log_size($node);
	my $wal_from = ask($dba, 'SELECT pg_current_wal_insert_lsn()');
	my $stop = "$dir/stop." . ($name =~ s/\W/_/gr);
	my @clients = StormClient::start($node, $stop, @{ $opt{clients} });
	my @targets = grep { $is_target->($_) } @clients;
	my $started = time;
	my $stopped = 0;
	my (@holds, $seen, $not_held, $different);

	they_are_there(@clients);
	my $end = time + $opt{seconds};
	until (@holds > 2 && time > $end)
	{
		my %hold;
		# some of them don't wait for the ends of transactions
		my $how = @holds % 3 ? q{drain_timeout => '20s'} : q{drain_timeout => '5ms', on_drain_timeout => 'terminate'};

		my ($child, $n) = stop_some($opt{title});
		$stopped += $n;
		$hold{called} = time;
		$hold{id} = ask($dba, sprintf 'SELECT %s', $opt{call} =~ s/\)$/, strategy => '$opt{strategy}', mode => '@{[ $read_only ? 'write' : 'all' ]}', $how)/r);
		$hold{frozen} = time;
		waitpid($child, 0);
		foreach (1 .. 10)
		{
			last if $read_only;
			my $there = ask($dba, "SELECT string_agg(concat_ws(' ', pid, usename, datname, application_name, state, backend_start, query), E'\\n') FROM pg_stat_activity WHERE $opt{where}");
			diag("$name, freeze $hold{id}: there are\n$there") if $there ne '' && !$seen++;
			usleep(rand(8000));
		}
		# until they have knocked
		they_go_on(60 * (10 + rand(40)), @targets);
		($hold{frozen_at}, $hold{thawed_at}, $hold{frozen_lsn}, $hold{thawed_lsn}, my $held, my $reason, my $skipped) =
		  split /\|/, ask($dba, "SELECT extract(epoch FROM frozen_at), extract(epoch FROM thawed_at), frozen_lsn, thawed_lsn, held, lost_reason, skipped FROM thaw($hold{id})"), -1;
		$hold{back} = time;
		push @holds, \%hold;
		diag("$name, freeze $hold{id}: held $held, $reason, $skipped skipped") if ($held ne ($opt{leaks} ? '' : 't') || $reason ne '' || $skipped ne '0') && !$not_held++;
		my $now = ask($dba, $catalogs);
		$now =~ s/\nTime:.*//;
		$different = $now if $now ne $before;
		# until they are in again
		they_go_on(60 * (10 + rand(60)), @targets);
	}
	my $lasted = time - $started;
	append_to_file($stop, '');
	my @events = StormClient::finish(@clients);

	# Each event lies in a hold, in the time between a thaw and the next freeze, or neither.
	my (%in, %out, %bad, %strange, $beside);
	my ($i, $logins, $refused) = (0, 0, 0);
	# who has passed the door of the library when it was closed hears the server's own words
	my %let_go = map { $_ => 1 } 'ok', 'gone', '57P01', '57014', $read_only ? ('25006', '25P02') : $opt{refusal} eq '57P03' ? ('57P03', '28000', '55000') : $opt{refusal};
	foreach my $event (@events)
	{
		my $as = sprintf '%s of %s in %s (%s): %s, %.6f to %.6f, login %.6f', @$event{qw(what user database kind outcome begin end login)};
		$logins++ if $event->{what} eq 'login';
		if (!$is_target->($event))
		{
			$beside++;
			$bad{'who is not meant is stopped'} //= $as if $event->{outcome} ne 'ok';
			next;
		}
		$strange{ $event->{outcome} } //= $as unless $let_go{ $event->{outcome} };
		$i++ while $i < $#holds && $holds[$i]{back} < $event->{begin};
		my $hold = $holds[$i];
		my $last = $event->{begin} > $hold->{back} ? $hold : $i ? $holds[ $i - 1 ] : undef;
		my $between = $event->{begin} > ($last ? $last->{back} : 0) && ($event->{begin} > $hold->{back} || $event->{end} < $hold->{called});
		$bad{'a session is still read-only after the thaw'} //= $as . ($last ? ", freeze $last->{id}, thawed at $last->{back}" : '') if $between && $event->{outcome} eq '25006';
		my $free = $between && $event->{login} > ($last ? $last->{back} : 0);
		if ($free)
		{
			$out{ $event->{what} }++;
			$bad{"a $event->{what} fails after thaw"} //= "$as, " . ($last ? "after freeze $last->{id}, which was thawed at $last->{back}" : 'before any freeze') if $event->{outcome} ne 'ok';
		}
		elsif ($event->{begin} > $hold->{frozen} && $event->{end} < $hold->{thawed_at})
		{
			$in{ $event->{what} }++;
			if ($event->{what} eq 'login')
			{
				my $right = $read_only ? 'ok' : $opt{refusal};
				$refused++ if $event->{outcome} ne 'ok';
				$bad{"a login in a hold is not $right"} //= "$as, freeze $hold->{id}" if $event->{outcome} ne $right;
			}
			elsif ($event->{word} eq 'INSERT')
			{
				$refused++ if $event->{outcome} eq '25006';
				# those whose session was ended before may notice it only now
				$bad{'a write in a hold'} //= "$as, freeze $hold->{id}" unless $event->{outcome} =~ ($read_only ? qr/^(25006|gone|57P01)$/ : qr/^(gone|57P01)$/);
			}
		}
	}
	is(join("\n", map { "$_: $bad{$_}" } sort keys %bad), '', "$name: each login and each statement went as it has to");
	is(join("\n", map { "$_: $strange{$_}" } sort keys %strange), '', "$name: and nobody got another error");
	is($seen || 0, 0, "$name: nobody is there in a hold") unless $read_only;
	is($not_held || 0, 0, "$name: each freeze held" . ($opt{leaks} ? ', as far as anybody knows' : ''));
	same_privileges($different // $before, $before, "$name: the shared catalogs are what they were after each thaw");

	# What is in the tables was committed outside of the holds.
	my $times = join ', ', map { "($_->{id}, to_timestamp($_->{frozen_at}), to_timestamp($_->{thawed_at}))" } @holds;
	my $inside = join "\n", map {
		my ($user, $db) = @$_;
		sql($node, "SELECT '$user in $db, freeze ' || h.id || ': ' || count(*) FROM $user.writes w JOIN (VALUES $times) h (id, f, t) ON w.at BETWEEN f AND t OR pg_xact_commit_timestamp(w.xmin) BETWEEN f AND t GROUP BY h.id", db => $db) || ()
	} grep { $is_target->({ user => $_->[0], database => $_->[1] }) } map { ([ $_, 'postgres' ], [ $_, 'shop' ]) } 'app', 'bystander';
	is($inside, '', "$name: no row was written or committed in a hold");
	if ($is_target->({ user => 'app', database => 'postgres' }))
	{
		my ($others, @found) = commits_in_holds($node, 0, $wal_from, @holds);
		is(scalar @found, 0, "$name: the WAL has no commit between frozen and thaw") || diag(@found[ 0 .. min(4, $#found) ]);
		cmp_ok($others, '>', 10, "$name: but others");
	}
	my @sessions = $read_only ? () : sessions_inside($log_from, $is_target, @holds);
	is(scalar @sessions, 0, "$name: the log has no session that was let in and ended in a hold") || diag(join "\n", @sessions[ 0 .. min(4, $#sessions) ]);

	cmp_ok($refused, '>', 5 * @holds, "$name: many were refused");
	cmp_ok($out{login} || 0, '>', 2 * @holds, "$name: and let in after a thaw");
	cmp_ok($beside || 0, '>', @holds, "$name: others go on") if grep { !$is_target->($_) } @clients;
	diag(sprintf '%s: %d logins in %.1f s (%.0f per second), %d freezes (%d processes stopped meanwhile); median/90%%/longest: call to frozen %s, thaw %s; in holds: %d logins, %d statements, %d refused',
		$name, $logins, $lasted, $logins / $lasted, scalar @holds, $stopped, figures(map { 1000 * ($_->{frozen} - $_->{called}) } @holds),
		figures(map { 1000 * ($_->{back} - $_->{thawed_at}) } @holds), $in{login} || 0, $in{statement} || 0, $refused);
	return;
}

# user, database, kind, table, how many
my @app = ([ 'app', 'postgres', 'short', 'app.writes', 5 ], [ 'app', 'postgres', 'stay', 'app.writes', 2 ], [ 'app', 'postgres', 'idle', 'app.writes', 2 ]);
my @app_in_shop = ([ 'app', 'shop', 'short', 'app.writes', 1 ], [ 'app', 'shop', 'stay', 'app.writes', 1 ]);
my @bystander = ([ 'bystander', 'postgres', 'stay', 'bystander.writes', 1 ]);
my @bystander_in_shop = ([ 'bystander', 'shop', 'stay', 'bystander.writes', 1 ], [ 'bystander', 'shop', 'idle', 'bystander.writes', 1 ]);
my @boss = ([ 'boss', 'postgres', 'stay', 'boss.writes', 1 ]);
my %role = (target => sub { $_[0]{user} eq 'app' }, where => q{usename = 'app'}, title => qr/: app /, clients => [ @app, @app_in_shop, @bystander ]);
my %database = (target => sub { $_[0]{database} eq 'shop' }, where => q{datname = 'shop'}, title => qr/: \w+ shop /, clients => [ @app_in_shop, [ 'app', 'shop', 'short', 'app.writes', 4 ], @bystander_in_shop, @bystander ]);
my %cluster = (target => sub { $_[0]{user} ne 'boss' }, where => q{usename IN ('app', 'bystander')}, title => qr/: (app|bystander) /, clients => [ @app, @app_in_shop, @bystander, @bystander_in_shop, @boss ]);
my $each = $seconds / 9;

round('disconnect role', %role, call => q{freeze_role('app')}, strategy => 'disconnect', refusal => '28000', seconds => $each);
round('disconnect database', %database, call => q{freeze_database('shop')}, strategy => 'disconnect', refusal => '55000', seconds => $each);
round('disconnect cluster', %cluster, call => q{freeze_cluster(label => 'storm')}, strategy => 'disconnect', refusal => '28000', seconds => $each, leaks => 1);

# One role, in one database.
ask($dba, q{SET pg_freeze.disconnect_role = 'connect'});
round('disconnect role here', %role, call => q{freeze_role('app')}, strategy => 'disconnect', refusal => '42501', seconds => $each,
	target => sub { $_[0]{user} eq 'app' && $_[0]{database} eq 'postgres' }, where => q{usename = 'app' AND datname = 'postgres'}, title => qr/: app postgres /);
ask($dba, q{RESET pg_freeze.disconnect_role});

round('read_only role', %role, call => q{freeze_role('app')}, strategy => 'read_only', seconds => $each, leaks => 1);
round('read_only database', %database, call => q{freeze_database('shop')}, strategy => 'read_only', seconds => $each, leaks => 1);

# The same with the library preloaded: logins are refused before the server would.
$dba->{in} .= "\\q\n";
$dba->{run}->finish;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_freeze'\n");
$node->restart;
$dba = open_dba($node);
round('preloaded, disconnect role', %role, call => q{freeze_role('app')}, strategy => 'disconnect', refusal => '57P03', seconds => $each);
round('preloaded, disconnect database', %database, call => q{freeze_database('shop')}, strategy => 'disconnect', refusal => '57P03', seconds => $each);

# Last, because superusers' sessions are recycled too.
$dba->{in} .= "\\q\n";
$dba->{run}->finish;
$dba = open_dba($node);
round('read_only cluster', %cluster, call => q{freeze_cluster(label => 'storm')}, strategy => 'read_only', seconds => $each, leaks => 1);

$dba->{in} .= "\\q\n";
$dba->{run}->finish;
is(sql($node, $catalogs), $before, 'the shared catalogs are what they were in the end');
is(sql($node, q{SELECT count(*) FROM freeze_journal WHERE state NOT IN ('thawed', 'aborted')}), '0', 'nothing is frozen');
unlike(slurp_file($node->logfile), qr/deadlock detected|PANIC|TRAP|XX000/, 'nothing strange is in the log');
done_testing();
