# What others do to roles, databases and settings while strategies read_only and
# disconnect hold them: theirs stays, and nobody stays locked out.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use SharedValues;
use Test::More;

my $node = new_server('main');
make_settings($node);
my $before = shared_rows($node);

sub freeze { my ($db, $what) = @_; return sql($node, "SELECT freeze_$what", db => $db); }
# held, lost_reason, restored and skipped
sub thaw { my ($db, $id) = @_; return sql($node, "SELECT coalesce(held::text, '-'), lost_reason, restored, skipped FROM thaw($id)", db => $db); }
sub outcome { my ($db, $id) = @_; return sql($node, "SELECT outcome FROM freeze_changes WHERE id = $id ORDER BY outcome", db => $db); }
sub setting
{
	my ($role, $db) = @_;
	return sql($node, "SELECT setconfig FROM pg_db_role_setting WHERE setrole = "
		  . ($role ? "(SELECT oid FROM pg_roles WHERE rolname = '$role')" : 0) . ' AND setdatabase = ' . ($db ? "(SELECT oid FROM pg_database WHERE datname = '$db')" : 0), db => 'template1');
}

# --- altered meanwhile ----------------------------------------------------

# [ freeze, what others do, verdict of the thaw, outcome, what undoes what they did ]
my $login = q{role('app', mode => 'all', strategy => 'disconnect')};
my $closed = q{database('shop', mode => 'all', strategy => 'disconnect')};
my $quiet = q{role('app', strategy => 'read_only')};
my $off = q{role('Rö le', strategy => 'read_only')};
my $all = q{cluster(strategy => 'read_only')};
my @cases = (
	[ $login, 'ALTER ROLE app LOGIN', qr/^false\|login of role app is true again\|1\|0$/, '', '' ],
	[ $login, 'ALTER ROLE app NOLOGIN', qr/^-\|\|1\|0$/, '', '' ],
	[ $login, 'ALTER ROLE app CONNECTION LIMIT 5', qr/^-\|\|1\|0$/, '', 'ALTER ROLE app CONNECTION LIMIT -1' ],
	[ $login, q{ALTER ROLE app CREATEDB VALID UNTIL '2099-01-01'}, qr/^-\|\|1\|0$/, '', q{ALTER ROLE app NOCREATEDB; UPDATE pg_authid SET rolvaliduntil = NULL WHERE rolname = 'app'} ],
	[ $login, 'ALTER ROLE app RENAME TO appl', qr/^-\|\|1\|0$/, '', 'ALTER ROLE appl RENAME TO app' ],
	[ $closed, 'ALTER DATABASE shop ALLOW_CONNECTIONS true', qr/^false\|connections to database shop is true again\|1\|0$/, '', '' ],
	[ $closed, 'ALTER DATABASE shop CONNECTION LIMIT 3', qr/^-\|\|1\|0$/, '', 'ALTER DATABASE shop CONNECTION LIMIT -1' ],
	[ $closed, 'ALTER DATABASE shop RENAME TO shop2', qr/^-\|\|1\|0$/, '', 'ALTER DATABASE shop2 RENAME TO shop' ],
	[ $closed, 'ALTER DATABASE shop IS_TEMPLATE true', qr/^-\|\|1\|0$/, '', 'ALTER DATABASE shop IS_TEMPLATE false' ],
	[ $quiet, 'ALTER ROLE app SET default_transaction_read_only = off', qr/^false\|default_transaction_read_only of role app is off again\|1\|1$/,
		'skipped: somebody else has set it meanwhile: off', 'ALTER ROLE app RESET default_transaction_read_only' ],
	[ $quiet, 'ALTER ROLE app RESET default_transaction_read_only', qr/^false\|default_transaction_read_only of role app is not set again\|2\|0$/, '', '' ],
	[ $quiet, q{ALTER ROLE app SET work_mem = '9MB'}, qr/^-\|\|2\|0$/, '', 'ALTER ROLE app RESET work_mem' ],
	[ $quiet, 'ALTER ROLE app RESET ALL', qr/^false\|/, '', '' ],
	[ $quiet, 'ALTER ROLE app IN DATABASE shop RESET default_transaction_read_only', qr/^false\|/,
		'skipped: somebody else has set it meanwhile: not set', undef ],
	[ $off, 'ALTER ROLE "Rö le" SET default_transaction_read_only = on', qr/^-\|\|1\|0$/, '', '' ],
	[ $off, 'ALTER ROLE "Rö le" RESET default_transaction_read_only', qr/^false\|/, 'skipped: somebody else has set it meanwhile: not set', undef ],
	[ $all, 'ALTER ROLE closed SET default_transaction_read_only = off', qr/^false\|default_transaction_read_only of role closed is off\|/, '', 'ALTER ROLE closed RESET default_transaction_read_only' ],
	[ $all, q{ALTER ROLE ALL SET work_mem = '9MB'}, qr/^-\|\|/, '', 'ALTER ROLE ALL RESET work_mem' ],
	[ $all, 'CREATE ROLE late LOGIN', qr/^-\|\|/, '', 'DROP ROLE late' ]);

foreach my $case (@cases)
{
	my ($what, $others, $verdict, $outcome, $back) = @$case;
	my $was = shared_rows($node);
	# the cluster's sessions, too, are read-only
	local $ENV{PGOPTIONS} = '-c default_transaction_read_only=off';
	my $id = freeze('one', $what);

	sql($node, $others);
	like(thaw('one', $id), $verdict, "$others: the verdict of freeze_$what");
	is(outcome('one', $id), $outcome, 'the outcome');
	is(register($node), '', 'nothing is held');
	if (defined $back)
	{
		sql($node, $back) if $back ne '';
		same_privileges(shared_rows($node), $was, 'the rest is as it was');
	}
}
is(setting('app', 'shop'), '{work_mem=6MB}', 'what others have reset stays so');
is(setting('Rö le'), '{work_mem=5MB,"search_path=a, \"b c\""}', 'in another role, too');
$before = shared_rows($node);

# --- several freezes of the same, from several databases ------------------

sub permutations { my ($done, @rest) = @_; return [@$done] unless @rest; return map { my $i = $_; permutations([ @$done, $rest[$i] ], @rest[ grep { $_ != $i } 0 .. $#rest ]) } 0 .. $#rest; }

foreach my $group (
	[ 'disconnect', [ 'one', $login ], [ 'two', $login ], [ 'two', q{cluster(mode => 'all', strategy => 'disconnect')} ] ],
	[ 'read_only', [ 'one', $quiet ], [ 'two', q{database('shop', strategy => 'read_only')} ], [ 'one', $all ] ])
{
	my ($strategy, @freezes) = @$group;
	my $stopped = sub {
		return $strategy eq 'disconnect' ? logs_in($node, 'app') eq 'no' :
		  sql($node, 'SHOW default_transaction_read_only', user => 'app', db => 'shop') eq 'on';
	};

	foreach my $order (permutations([], 0 .. 2))
	{
		my @ids = map { freeze(@$_) } @freezes;
		my @bad;

		foreach my $i (@$order)
		{
			push @bad, "open before freeze $i" if !$stopped->();
			thaw($freezes[$i][0], $ids[$i]);
		}
		push @bad, 'still closed' if $stopped->();
		is(join(', ', @bad), '', "$strategy, thawed in the order @$order: the target goes on after the last");
		same_privileges(shared_rows($node), $before, 'and all is as it was');
	}
}

# One that somebody has opened meanwhile is closed by the next, and opened by the last.
{
	my $first = freeze('one', $login);
	sql($node, 'ALTER ROLE app LOGIN');
	my $second = freeze('two', $login);
	is(logs_in($node, 'app'), 'no', 'a second freeze closes what was opened');
	thaw('two', $second);
	is(logs_in($node, 'app'), 'no', 'as long as the first is live');
	thaw('one', $first);
	same_privileges(shared_rows($node), $before, 'thawed, all is as it was');
}

# --- dropped --------------------------------------------------------------

{
	sql($node, 'CREATE ROLE gone LOGIN; CREATE DATABASE gone; CREATE ROLE heir; ALTER ROLE gone IN DATABASE gone SET default_transaction_read_only = off');
	my @ids = map { freeze('one', $_) } q{role('gone', mode => 'all', strategy => 'disconnect')}, q{role('gone', strategy => 'read_only')},
	  q{database('gone', mode => 'all', strategy => 'disconnect')}, q{database('gone', strategy => 'read_only')};

	sql($node, 'REASSIGN OWNED BY gone TO heir; DROP OWNED BY gone; DROP ROLE gone; DROP DATABASE gone; DROP ROLE heir');
	like(thaw('one', $_), qr/\|0\|[12]$/, "freeze $_ of what was dropped") foreach (@ids);
	is(outcome('one', $_) =~ s/^skipped: dropped meanwhile$//mgr =~ s/\n//gr, '', 'its outcome says so') foreach (@ids);
	same_privileges(shared_rows($node), $before, 'and nothing is left');
}

# --- the home is dropped --------------------------------------------------

{
	my $first = freeze('one', $login);
	my $dropped = sub {
		sql($node, 'DROP DATABASE one');
		is(logs_in($node, 'app'), 'no', 'the database of the journal is dropped: the role stays locked out');
		return;
	};
	my $again = sub {
		sql($node, 'CREATE DATABASE one');
		add_home($node, 'one');
		sql($node, 'ALTER ROLE app IN DATABASE one SET default_transaction_read_only = on');
		$before = shared_rows($node);
		is(register($node), '', 'nothing is held');
		return;
	};

	my $second = freeze('two', $login);
	$dropped->();
	is(logs_in($node, 'app'), 'no', 'another freeze holds it, too');
	thaw('two', $second);
	is(logs_in($node, 'app'), 'yes', 'and lets it in again when it is thawed');
	$again->();

	freeze('one', $login);
	$dropped->();
	$second = freeze('two', $login);
	is(logs_in($node, 'app'), 'no', 'a freeze that is made later');
	thaw('two', $second);
	is(logs_in($node, 'app'), 'yes', 'lets it in again as well');
	$again->();

	freeze('one', $quiet);
	freeze('one', $login);
	$dropped->();
	next_call($node, db => 'two');
	is(logs_in($node, 'app'), 'yes', 'so does any other call');
	$again->();

	my $log = log_size($node);
	freeze('one', $login =~ s/\)$/, thaw_after => '3 s')/r);
	$dropped->();
	$node->wait_for_log(qr/login of role app was held for a freeze that is over, and is given back/, $log);
	is(logs_in($node, 'app'), 'yes', 'and the deadline, without any call');
	$again->();
}

# The journal goes, for somebody has switched the guard off.
{
	my $log = log_size($node);

	freeze('one', $login =~ s/\)$/, thaw_after => '3 s')/r);
	sql($node, 'ALTER EVENT TRIGGER pg_freeze_guard DISABLE; DROP EXTENSION pg_freeze', db => 'one');
	$node->wait_for_log(qr/login of role app was held for a freeze that is over, and is given back/, $log);
	same_privileges(shared_rows($node), $before, 'without its journal a freeze ends at its deadline');
	sql($node, 'CREATE EXTENSION pg_freeze', db => 'one');
}

# --- preloaded ------------------------------------------------------------

$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_freeze'");
$node->restart;
foreach my $what ($login, $quiet)
{
	my $id = freeze('one', $what);

	foreach my $command ('DROP DATABASE one', 'DROP DATABASE IF EXISTS one WITH (FORCE)')
	{
		my ($state, undef, $err) = try_sql($node, $command);
		is($state, '55006', "$command is refused where the library is preloaded");
		like($err, qr/DETAIL:.*freeze $id of database one.*HINT:  Thaw first/s, 'with what to do');
	}
	sql($node, "SELECT thaw($id, home => 'one')", db => 'two');
	same_privileges(shared_rows($node), $before, 'and nothing has changed');
}

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|XX000/, 'nothing strange is in the log');
done_testing();
