# How writes get around a freeze: each way in STRATEGY.txt is tried without a
# freeze, when it must really write, and during one, with another session
# looking whether anything has changed.  Probes.pm has the ways; each column of
# the file is one of @kinds here.
#
# The attempt runs in a process of its own, because it may wait for the thaw.
# What waits is the proof that it writes, too: it goes on after the thaw.  Cells
# whose attempts don't disturb each other share one freeze.
#
# ONLY='insert copy_from' runs these only, and fails; so does UNFROZEN=1, which
# freezes nothing.
package WritePaths;

use strict;
use warnings FATAL => 'all';

use Errno;
use Exporter 'import';
use File::Basename;
use IO::Select;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);
use Wire;

our @EXPORT = qw(write_paths);
our $dir = dirname(__FILE__);
our $superuser = getpwuid $<;
our ($node, $o, $port, $host, $version, %probe);
my $pg_config = $ENV{PG_CONFIG} || 'pg_config';
our ($strategy, %not_here, $override);
our $listener = 'other';
my %minor;

require Probes;

# code: of the error of what is stopped; waits: by locks, for the thaw; recycles:
# ends sessions, see Recycles.pm
our %strategies = (
	revoke => { doc => 'leaks.md', code => '42501' },
	lock => { doc => 'leaks-lock.md', waits => 1 },
	gate => { doc => 'leaks-gate.md', code => '25006' },
	read_only => { doc => 'leaks-read-only.md', code => '25006', recycles => 1 },
	disconnect => { doc => 'leaks-disconnect.md', recycles => 1 });

# also: statements that make a kind what it is; shown_by: the kind that shows of
# the same ways that they write
my %kinds = (
	grantee => { owner => 'keeper', target => "'role', 'app'", freeze => "pf.freeze_role('app', drain_timeout => '60s')" },
	owner => { owner => 'app', target => "'role', 'app'", freeze => "pf.freeze_role('app', drain_timeout => '60s')" },
	database => { owner => 'app', target => "'database', 'postgres'", freeze => "pf.freeze_database(drain_timeout => '60s')" });

sub kinds_of_gate
{
	my %actions = (grantee => 'reject', owner => 'reject', owner_waits => 'wait',
		database => 'reject', superuser => 'reject', database_waits => 'wait');
	foreach my $kind (keys %actions)
	{
		my %like = %{ $kinds{ $kind =~ /^(database|superuser)/ ? 'database' : $kind eq 'grantee' ? $kind : 'owner' } };
		$like{freeze} =~ s/drain_timeout => '60s'/action => '$actions{$kind}', drain_timeout => '15s'/;
		$like{also} = 'ALTER ROLE app SUPERUSER' if $kind eq 'superuser';
		$like{shown_by} = $kind eq 'owner' ? 'owner_waits' : 'database_waits' if $kind =~ /^(owner|database|superuser)$/;
		$kinds{"gate $kind"} = \%like;
	}
	return;
}

# A kind of this strategy.
sub kind { my ($kind) = @_; return $kinds{"$strategy $kind"} || $kinds{$kind} || die "no kind: $kind" }

# ---- the file of what is expected -----------------------------------------

# outcome TEXT: the one for this version.  What minor versions differ in: "locks",
# whoever creates anything in a schema locks it; "renames", who renames it does.
sub outcome
{
	foreach (split ' ', $_[0])
	{
		my ($word, $from, $to, $minor) = /^([\w:]+)(?:@(?:(\d+)-|-(\d+)|(\w+)))?$/ or die "no outcome: $_";
		return $word if (!$from || $version >= $from) && (!$to || $version <= $to) && (!$minor || $minor{$minor});
	}
	die "no outcome for $version: $_[0]";
}

# The first line that is no comment has the names of the columns.
sub read_expected
{
	my (@paths, @columns);
	foreach (split /\n/, slurp_file("$dir/$strategy.txt"))
	{
		next if /^(#|$)/;
		my ($id, $what, @outcomes) = split / \| /;
		if (!@columns) { @columns = @outcomes; next }
		die "odd line: $_" unless @outcomes == @columns;
		my $path = { id => $id, what => $what, text => \@outcomes };
		$path->{ $columns[$_] } = outcome($outcomes[$_]) foreach 0 .. $#columns;
		push @paths, $path;
	}
	return (\@paths, @columns);
}

sub documented
{
	my ($columns) = @_;
	my $page = "$dir/../../doc/$strategies{$strategy}{doc}";
	my $cells = join ' \| ', ('(.+?)') x $columns;
	my %documented;
	foreach (-e $page ? split /\n/, slurp_file($page) : ())
	{
		my ($id, @outcomes) = /^\| `(\w+)` \| .* \| $cells \| [^|]+ \|$/ or next;
		$documented{$id} = join ', ', @outcomes;
	}
	return \%documented;
}

# ---- server ----------------------------------------------------------------

sub start_server
{
	my $pkglibdir = `$pg_config --pkglibdir`;
	chomp $pkglibdir;
	$node = PostgreSQL::Test::Cluster->new('paths');
	$node->init(allows_streaming => 'logical');
	$node->append_conf('postgresql.conf', <<~E);
		autovacuum = off
		autovacuum_naptime = 1s
		max_prepared_transactions = 10
		max_worker_processes = 20
		max_connections = 200
		shared_buffers = 64MB
		E
	my @preload = $strategy eq 'gate' ? 'pg_freeze' : ();
	if (-e "$pkglibdir/pg_cron.so")
	{
		push @preload, 'pg_cron';
		$node->append_conf('postgresql.conf', <<~E);
			cron.database_name = 'postgres'
			cron.use_background_workers = on
			E
	}
	else
	{
		$not_here{pg_cron} = 'pg_cron is not installed';
	}
	$node->append_conf('postgresql.conf', "shared_preload_libraries = '" . join(', ', @preload) . "'\n");
	$node->append_conf('postgresql.conf', "pg_freeze.exempt_roles = 'observer'\n") if $strategy eq 'gate';
	$node->start;
	($host, $port) = ($node->host, $node->port);
	$version = int($node->safe_psql('postgres', 'SHOW server_version_num') / 10000);
	$node->safe_psql('postgres', slurp_file("$dir/fixture.sql"));
	$node->safe_psql('postgres',
		"CREATE SERVER here FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname 'postgres')");
	$node->safe_psql('postgres', 'CREATE EXTENSION pg_cron') unless $not_here{pg_cron};
	if (!$not_here{pg_cron} && $node->safe_psql('postgres', "SELECT extversion ~ '^1\\.[0-4]\\y' FROM pg_extension WHERE extname = 'pg_cron'") eq 't')
	{
		$not_here{pg_cron} = 'this pg_cron knows no seconds';
	}

	$node->safe_psql('postgres', 'CREATE DATABASE elsewhere');
	$node->safe_psql('elsewhere', <<~E);
		CREATE SCHEMA w;
		CREATE TABLE w.t2 (a int, b text);
		CREATE TABLE w.other (a int);
		CREATE PUBLICATION pub FOR TABLE w.t2;
		E
	build_probe();
	$o = observer();
	tidy_up();
	server_for_gate() if defined &server_for_gate;
	foreach ([ locks => "CREATE FUNCTION obs.f() RETURNS int LANGUAGE sql AS 'SELECT 1'" ], [ renames => 'ALTER SCHEMA obs RENAME TO x' ])
	{
		my ($which, $sql) = @$_;
		$o->value('BEGIN');
		$o->value($sql);
		$minor{$which} = $o->value("SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'object' AND classid = 'pg_namespace'::regclass");
		$o->value('ROLLBACK');
	}
	return;
}

sub build_probe
{
	my $so = PostgreSQL::Test::Utils::tempdir() . '/probe.so';
	my %config = map { $_ => `$pg_config --$_` } qw(cc cppflags includedir-server);
	chomp %config;
	system_or_bail('sh', '-c',
		"$config{cc} -O1 -fPIC -shared -I'$config{'includedir-server'}' $config{cppflags} -o $so $dir/probe.c");
	$node->safe_psql('postgres', <<~E);
		CREATE FUNCTION obs.probe_heap(regclass) RETURNS void STABLE PARALLEL SAFE LANGUAGE c AS '$so';
		CREATE FUNCTION obs.probe_release(regclass) RETURNS void LANGUAGE c AS '$so';
		CREATE FUNCTION obs.probe_notify() RETURNS void LANGUAGE c AS '$so';
		CREATE FUNCTION obs.probe_spi(text) RETURNS void STABLE LANGUAGE c AS '$so';
		CREATE FUNCTION obs.probe_worker(text, regrole, text) RETURNS void LANGUAGE c AS '$so';
		CREATE FUNCTION obs.worker(regrole, text) RETURNS void LANGUAGE sql AS \$\$ SELECT obs.probe_worker('$so', \$1, \$2) \$\$;
		E
	return;
}

# Of what each cell leaves behind, everything else becomes slower: dead rows in
# the catalogs, which the slots keep from being removed, and WAL to decode.
sub tidy_up
{
	poll(sub { !$o->value("SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'sub' AND active") });
	# both at once: one would keep for the other what it keeps
	my $error = statements($o, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name IN ('look', 'sub')",
		"SELECT pg_create_logical_replication_slot('look', 'test_decoding')");
	$node->safe_psql('elsewhere', "SELECT pg_create_logical_replication_slot('sub', 'pgoutput')");
	$error ||= $o->query('VACUUM ' . join ', ', map { "pg_catalog.$_" } qw(pg_attrdef pg_attribute pg_auth_members pg_class pg_constraint
			pg_default_acl pg_depend pg_foreign_table pg_index pg_namespace pg_proc pg_rewrite pg_sequence pg_shdepend pg_statistic pg_trigger pg_type));
	die "tidy_up: $error->{M}" if $error;
	return;
}

# For a freeze of the database by strategy gate it has to be exempt.
sub observer { return session($strategy eq 'gate' ? 'observer' : 'postgres') }

sub session
{
	my ($user, %more) = @_;
	$more{options} ||= $override if $override && $user eq 'app';
	return Wire->connect($node, user => $user eq 'postgres' ? $superuser : $user,
		database => 'postgres', application_name => 'path', %more);
}

# ---- looking ---------------------------------------------------------------

sub looks
{
	my ($p, $c) = @_;
	return $p->{look} ? $p->{look}->($c) : $o->value('SELECT obs.look(true)');
}

# During a freeze for whose end others wait: somebody who waits for an ACCESS
# EXCLUSIVE lock keeps readers out, but not one who has the table already.
sub begin_looking
{
	my ($p, $c) = @_;
	$o->value('BEGIN') if $strategies{$strategy}{waits};
	return looks($p, $c);
}

sub end_looking { $o->value('COMMIT') if $strategies{$strategy}{waits}; return }

sub difference
{
	my %before = map { split / /, $_, 2 } split /\n/, $_[0];
	return join ', ', map { /^(\S+) (.*)/ && ($before{$1} // '') eq $2 ? () : (split / /)[0] } split /\n/, $_[1];
}

# ---- an attempt ------------------------------------------------------------

sub steps
{
	my ($c, $how) = @_;
	return undef unless $how;
	return $how->($c) if ref $how eq 'CODE';
	return statements($c->{s}, ref $how ? @$how : $how);
}

# Processes that wait for the freeze.
sub waiting
{
	return () unless $strategies{$strategy}{waits} || $strategy eq 'gate';
	# before 17 nothing but the view tells who waits at a gate
	my $all = $o->value($strategy eq 'gate' && $version < 17 ? 'SELECT concat(string_agg(pid::text, \' \')) FROM pf.freeze_waiters'
		: $strategy eq 'gate' ? "SELECT concat(string_agg(pid::text, ' ')) FROM pg_stat_activity WHERE wait_event = 'PgFreezeGate'" : <<~E);
		SELECT concat(string_agg(DISTINCT l.pid::text, ' ')) FROM pg_locks l, pg_stat_activity h
		WHERE NOT l.granted AND h.backend_type = 'pg_freeze holder' AND h.pid = ANY (pg_blocking_pids(l.pid))
		E
	return map { $_ => 1 } split / /, $all;
}

# Of those whom freeze_waiters leaves out.
sub not_listed
{
	my %waits = waiting();
	$o->value('SELECT pg_stat_clear_snapshot()');
	$o->query('SELECT pid FROM pf.freeze_waiters');
	delete $waits{ $_->[0] } foreach @{ $o->{rows} };
	return join ', ', keys %waits;
}

# Forks.  The child does what comes before the attempt during the freeze, waits
# for our word, then makes the attempt; go_on() gives the word.
sub start
{
	my ($p, $c) = @_;
	my %attempt = (waiting => $p->{waits_already} ? {} : { waiting() });
	pipe my $told, my $tell or die;
	pipe my $word, $attempt{word} or die;

	$attempt{pid} = fork;
	die "fork: $!" unless defined $attempt{pid};
	if ($attempt{pid})
	{
		$attempt{told} = $told;
		return \%attempt;
	}
	my $error;
	eval {
		close $attempt{word};
		$o = observer() if $p->{after} || ref $p->{run};
		if ($p->{after})
		{
			$error = steps($c, $p->{after});
			die "after: $error->{M}" if $error && $strategy ne 'gate';
			syswrite $tell, "\n";
		}
		sysread($word, my $byte, 1) or POSIX::_exit(1);
		$error ||= steps($c, $p->{run});
		1;
	} or $error = { C => '?', M => $@ };
	syswrite $tell, $error ? "$error->{C} $error->{M}" : 'done';
	POSIX::_exit(0);
}

sub go_on { my ($attempt) = @_; syswrite $attempt->{word}, '.'; return }

# What the child says next, for at most so many seconds.
sub hear
{
	my ($attempt, $timeout) = @_;
	return undef unless IO::Select->new($attempt->{told})->can_read($timeout);
	my $n = sysread $attempt->{told}, my $text, 10_000;
	return undef if !defined $n && $!{EINTR};
	return $n ? $text : '? the attempt has died';
}

# Until the child says something or somebody new waits; true if somebody waits.
sub until_it_waits
{
	my ($attempt) = @_;
	for (my $end = time + 60; time < $end;)
	{
		$attempt->{said} = hear($attempt, 0.01);
		return 0 if defined $attempt->{said};
		my %now = waiting();
		return 1 if grep { !$attempt->{waiting}{$_} } keys %now;
	}
	die 'neither ends nor waits';
}

sub finish
{
	my ($attempt) = @_;
	my $said = $attempt->{said};
	$said = hear($attempt, 60) while !defined $said || $said eq "\n";
	waitpid $attempt->{pid}, 0;
	return undef if $said =~ /^\n?done/;
	return { C => $1, M => $2 } if $said =~ /^\n?(\S*) (.*)/s;
	die "odd: $said";
}

# ---- one cell --------------------------------------------------------------

# Everything up to where the freeze may come.
sub make_ready
{
	my ($p, $kind, $needs_lo) = @_;
	my @sql = ref $p->{setup} ? @{ $p->{setup} } : $p->{setup} || ();
	my $is = kind($kind);
	my $error = statements($o, "CALL obs.fixture('$is->{owner}', " . ($needs_lo ? 'true' : 'false') . ')', $is->{also} || (), @sql);
	die "setup: $error->{M}" if $error;
	return make_session($p);
}

sub make_session
{
	my ($p) = @_;
	my $c = {};
	$c->{s} = session($p->{as} || 'app', $p->{options} ? (options => $p->{options}) : ());
	if (ref $p->{before} eq 'CODE') { $p->{before}->($c) }
	elsif (my $error = steps($c, $p->{before})) { die "before: $error->{M}" }
	return $c;
}

sub needs_lo { return scalar $_[0]{id} =~ /lo_(?:put|open|write|truncate|unlink)|(?:read|public)_lo/ }

sub clean
{
	my ($p, @c) = @_;
	foreach my $s (map { $_->{s}, $_->{ear} } @c)
	{
		next unless $s;
		$s->close;
		poll(sub { !$o->value("SELECT count(*) FROM pg_stat_activity WHERE pid = $s->{pid}") });
	}
	# left behind by a failure, it would lock out all that follow
	$o->query('SELECT gid FROM pg_prepared_xacts');
	$o->query("ROLLBACK PREPARED '$_->[0]'") foreach @{ $o->{rows} };
	return $p->{clean}->() if ref $p->{clean} eq 'CODE';
	my @sql = ref $p->{clean} ? @{ $p->{clean} } : $p->{clean} || ();
	my $error = statements($o, @sql);
	die "clean: $error->{M}" if $error;
	return;
}

# Whether another column shows it, here or in another test of this file.
sub shown_elsewhere
{
	my ($path, $kind) = @_;
	my $by = kind($kind)->{shown_by};
	return $by && $path->{$kind} =~ /^(stopped|waits)$/ && $path->{$by} =~ /^blocks/;
}

sub without_freeze
{
	my ($path, $kind, $name) = @_;
	my ($p, $expected) = ($probe{ $path->{id} }, $path->{$kind});
	my $c = make_ready($p, $kind, needs_lo($path));
	my $before = looks($p, $c);
	steps($c, $p->{after});
	$before = looks($p, $c) if $p->{after};
	steps($c, $p->{go});
	my $error = steps($c, $p->{run});
	my $after = looks($p, $c);
	clean($p, $c);
	return judge_without($p, $expected, $name, $error, $before, $after);
}

sub judge_without
{
	my ($p, $expected, $name, $error, $before, $after) = @_;

	if ($expected =~ /^cannot/) { return is($after, $before, "$name: not without a freeze either") }
	if ($expected =~ /^(passes|stops)/ || $p->{writes_nothing}) { return ok(!$error, "$name: works without a freeze") || diag $error->{M} }
	return isnt($after, $before, "$name: writes without a freeze") || diag $error && $error->{M};
}

# The same for many that need nothing of their own, with one fixture.  What has
# nothing left to change after the others is tried again by itself.
sub without_freeze_together
{
	my ($kind, @paths) = @_;
	my $first = make_ready({}, $kind, 0);
	my $before = looks({}, $first);

	foreach my $path (@paths)
	{
		my ($p, $name) = ($probe{ $path->{id} }, "$path->{id}, $kind");
		next if fails($name, $p, sub {
				my $c = make_session($p);
				my $error = steps($c, $p->{run});
				my $after = looks({}, $first);
				my $again = $error || ($after eq $before && $path->{$kind} !~ /^(passes|cannot)/);

				clean($p, $c);
				judge_without($p, $path->{$kind}, $name, $error, $before, $after) unless $again;
				$before = $after;
				push @{ $first->{again} }, $path if $again;
			});
	}
	clean({}, $first);
	foreach my $path (@{ $first->{again} || [] })
	{
		fails("$path->{id}, $kind", $probe{ $path->{id} }, sub { without_freeze($path, $kind, "$path->{id}, $kind") });
	}
	return;
}

# What freeze_check lists is judged only where a leak is expected.
sub lists_leak { return scalar $_[0] =~ /^leak:(?!(doc|held|null)$)/ }

# Freezes; if that waits for somebody, does the work meanwhile.
sub freeze
{
	my ($p, $c, $kind, $checks) = @_;
	my $f = observer();
	my $is = kind($kind);
	my %r = (waited => 0);

	$f->query("SET pg_freeze.strategy = '$strategy'");
	if ($checks)
	{
		$f->query("SELECT kind FROM pf.freeze_check($is->{target}) WHERE item = 'leak'");
		$r{check} = join "\n", map { $_->[0] } @{ $f->{rows} };
	}
	$f->send("SELECT $is->{freeze}");
	while ($f->idle(0.03))
	{
		next unless !$r{waited} && $o->value("SELECT count(*) FROM pf.freeze_blockers WHERE what !~ '^(is committing|applies changes)'");
		$r{waited} = 1;
		steps($c, $p->{go});
		$r{error} = steps($c, $p->{run});
	}
	if (my $refused = $f->ready) { die "cannot freeze: $refused->{M} " . ($refused->{D} || '') }
	$r{id} = $f->{rows}[0][0];
	$f->close;
	return \%r;
}

sub thaw
{
	my ($r) = @_;
	$o->query('SELECT leaks, also_stops FROM pf.freeze_status');
	@$r{qw(leaks also_stops)} = map { defined $_ ? $_ : '' } @{ $o->{rows}[0] };
	end_looking();
	my $error = $o->query("SELECT held, lost_reason FROM pf.thaw($r->{id})");
	die "cannot thaw: $error->{M}" if $error;
	@$r{qw(held lost)} = map { defined $_ ? $_ : 'unknown' } @{ $o->{rows}[0] };
	return;
}

# One attempt in a freeze.  Returns it; what waits has not ended.
sub attempt
{
	my ($p, $c, $expected, $r) = @_;
	# to look may be in the way of what is done before the attempt
	my $early = !$p->{after} || $expected =~ /^blocks/;
	$r->{before} = begin_looking($p, $c) if $early;
	my $attempt = start($p, $c);
	$r->{blocks} = $p->{after} && until_it_waits($attempt);
	$r->{before} = begin_looking($p, $c) unless $early;
	$r->{before} = looks($p, $c) if $p->{after} && !$r->{blocks};
	steps($c, $p->{go});
	go_on($attempt);
	$r->{blocks} ||= until_it_waits($attempt);
	$r->{after} = looks($p, $c);
	$r->{error} = finish($attempt) unless $r->{blocks};
	$r->{not_listed} = not_listed() if $r->{blocks};
	return $attempt;
}

sub with_freeze
{
	my ($path, $kind, $name) = @_;
	my $p = $probe{ $path->{id} };
	my $c = make_ready($p, $kind, needs_lo($path));
	my $r = freeze($p, $c, $kind, lists_leak($path->{$kind}));

	if ($r->{waited})
	{
		$r->{before} = begin_looking($p, $c);
		$r->{after} = looks($p, $c);
		thaw($r);
	}
	else
	{
		my $attempt = attempt($p, $c, $path->{$kind}, $r);
		thaw($r);
		$r->{error} = finish($attempt) if $r->{blocks};
		$r->{thawed} = looks($p, $c) if $r->{blocks};
	}
	clean($p, $c);
	return judge($p, $path->{$kind}, $name, $r);
}

# Compares what happened with the words of the file.
sub judge
{
	my ($p, $expected, $name, $r) = @_;
	my ($error, $before, $after, $leaks, $held) = @$r{qw(error before after leaks held)};
	my $code = $strategies{$strategy}{code};
	my $seen;

	my ($word, $detail) = split /:/, $expected;
	if ($word eq 'passes') { $seen = $r->{blocks} ? 'blocks' : $error ? "refused: $error->{M}" : 'passes' }
	elsif ($word eq 'stops') { $seen = $error || $r->{blocks} ? 'stops' : 'passes' }
	# some wait before they ask for ownership
	elsif ($word eq 'cannot' && $r->{blocks} && $before eq $after && $r->{thawed} eq $before) { $seen = 'cannot' }
	else { $seen = $r->{waited} ? 'waits' : $before ne $after ? 'leak' : $r->{blocks} ? 'blocks' : $word eq 'cannot' ? 'cannot' : 'stopped' }

	my $good = is($seen, $word, "$name: $expected");
	diag 'changed: ' . ($p->{look} ? "$before to $after" : difference($before, $after)) if $before ne $after && $seen ne $word;
	diag "error: $error->{C} $error->{M}" if $error && !$good;
	return 0 unless $good;

	$code = $p->{code} if $p->{code};
	if ($word eq 'stopped' && $code && !$p->{silent} && $error) { is($error->{C}, $code, "$name: says $code") || diag $error->{M} }
	if ($word eq 'stops')
	{
		# by name, the role or its function
		my $whom = $strategies{$strategy}{waits} ? qr/.*\b(other|w\.weak)\b/ : '';
		like($r->{also_stops}, qr/^$detail: $whom/m, "$name: freeze_status says who else is stopped");
	}
	if ($r->{blocks} && $word ne 'cannot')
	{
		is($after, $before, "$name: nothing changes while it waits") if $word ne 'leak';
		is($r->{not_listed}, '', "$name: freeze_waiters lists it");
		ok(!$error, "$name: goes on after the thaw") || diag "$error->{C} $error->{M}";
		isnt($r->{thawed}, $after, "$name: has written after the thaw") if $r->{thawed} && $word ne 'leak';
	}
	if (lists_leak($expected))
	{
		like($leaks, qr/^$detail: /m, "$name: freeze_status lists $detail");
		like($r->{check}, qr/^$detail$/m, "$name: freeze_check lists $detail");
	}
	my $verdict =
		$expected =~ /:held$/ ? $held eq 'f'
		: $expected =~ /:null$/ ? $held eq 'unknown'
		: $word eq 'leak' && $detail ne 'doc' ? $held ne 't'
		: $word =~ /^(stopped|waits|blocks|cannot)$/ ? $held eq ($leaks eq '' ? 't' : 'unknown')
		: $held ne 'f';
	return ok($verdict, "$name: the verdict is right") || diag "held: $held, $r->{lost}, leaks: $leaks";
}

# ---- cells that share a freeze ---------------------------------------------

# Those that change nothing, or wait, and need nothing that disturbs others.
sub can_share
{
	my ($path, $kind) = @_;
	my $p = $probe{ $path->{id} };
	return 0 if needs_lo($path) || grep { $p->{$_} } qw(setup after look clean go), $strategy eq 'gate' && $path->{$kind} eq 'stopped' ? () : 'alone';
	return 1 if $path->{$kind} eq 'blocks' || ($strategy eq 'gate' && $path->{$kind} eq 'stopped');
	return $path->{$kind} =~ /^(stopped|cannot|passes)$/ && !grep { $p->{$_} } qw(before as options);
}

sub with_one_freeze
{
	my ($kind, @paths) = @_;
	my $first = make_ready({}, $kind, 0);
	my %session = map { $_->{id} => make_session($probe{ $_->{id} }) } @paths;
	my $r = freeze({}, $first, $kind);
	my (@results, @waiting);

	my $before = begin_looking({}, $first);
	foreach my $path ((grep { $_->{$kind} ne 'blocks' } @paths), (grep { $_->{$kind} eq 'blocks' } @paths))
	{
		my $p = $probe{ $path->{id} };
		my $attempt = start($p, $session{ $path->{id} });
		my %one;
		go_on($attempt);
		if (until_it_waits($attempt))
		{
			$one{blocks} = 1;
			$one{attempt} = $attempt;
			push @waiting, \%one;
		}
		else
		{
			$one{error} = finish($attempt);
			@one{qw(before after)} = ($before, looks({}, $first));
			$before = $one{after};
		}
		push @results, [ $path, \%one ];
	}
	my $after = looks({}, $first);
	my $not_listed = not_listed();
	thaw($r);
	foreach (@waiting)
	{
		$_->{error} = finish($_->{attempt});
		# what changed up to $before was another's doing
		@$_{qw(before after not_listed)} = ($before, $after, $not_listed);
	}
	foreach (@results)
	{
		my ($path, $one) = @$_;
		judge($probe{ $path->{id} }, $path->{$kind}, "$path->{id}, $kind", { %$r, %$one });
	}
	clean({}, $first, values %session);
	return scalar @results;
}

# With strategy gate the observer may change everything meanwhile: what needs a
# fixture of its own, and nothing before the freeze, comes one after the other.
sub can_follow
{
	my ($path, $kind) = @_;
	my $p = $probe{ $path->{id} };
	return $strategy eq 'gate' && $path->{$kind} !~ /^(blocks|waits)/ && !grep { $p->{$_} } qw(before go);
}

sub one_after_the_other
{
	my ($kind, @paths) = @_;
	my $first = make_ready({}, $kind, 0);
	my $r = freeze({}, $first, $kind, scalar grep { lists_leak($_->{$kind}) } @paths);
	my @results;

	foreach my $path (@paths)
	{
		my ($p, $name) = ($probe{ $path->{id} }, "$path->{id}, $kind");
		my %one;
		push @results, [ $p, $path->{$kind}, $name, \%one ];
		eval {
			tidy_up() if @results % 20 == 0;
			my $c = make_ready($p, $kind, needs_lo($path));
			my $attempt = attempt($p, $c, $path->{$kind}, \%one);
			if ($one{blocks})
			{
				# it has failed; the others shall not wait for it
				$o->query('SELECT pg_terminate_backend(pid) FROM pf.freeze_waiters');
				$one{error} = finish($attempt);
				$one{thawed} = looks($p, $c);
			}
			clean($p, $c);
			1;
		} or $one{died} = $@;
	}
	thaw($r);
	foreach (@results)
	{
		my $one = pop @$_;
		if ($one->{died}) { fail("$_->[2]: $one->{died}") }
		else { judge(@$_, { %$r, %$one }) }
	}
	clean({}, $first);
	return scalar @results;
}

# A strategy that only waits changes nothing itself.
sub changes_nothing
{
	my ($kind) = @_;
	my $c = make_ready({}, $kind, 1);
	my $before = looks({}, $c);
	my $r = freeze({}, $c, $kind);
	is(looks({}, $c), $before, "$kind: to freeze changes nothing");
	begin_looking({}, $c);
	thaw($r);
	is(looks({}, $c), $before, "$kind: nor does to thaw");
	clean({}, $c);
	return;
}

# ---- all cells -------------------------------------------------------------

# After something unforeseen: nobody waits, nothing is frozen or left behind.
sub recover
{
	my ($p) = @_;
	$o->close;
	$o = observer();
	$o->query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()");
	$o->query('SELECT pf.thaw_all()');
	eval { clean($p) };
	return;
}

# True if something unforeseen was raised.
sub fails
{
	my ($name, $p, $do) = @_;
	return 0 if eval { $do->(); 1 };
	fail("$name: $@");
	recover($p);
	return 1;
}

# write_paths STRATEGY [COLUMN...]
sub write_paths
{
	($strategy, my @these) = @_;
	if ($strategies{$strategy}{recycles})
	{
		require Recycles;
		return write_paths_recycled();
	}
	require GateProbes if $strategy eq 'gate';
	kinds_of_gate();
	start_server();
	my ($expected, @columns) = read_expected();
	my $columns = @columns;
	my ($ran, $not_run, $tried) = (0, 0, 0);

	probes();
	probes_gate() if $strategy eq 'gate';
	is_deeply(documented($columns), { map { $_->{id} => join ', ', @{ $_->{text} } } @$expected },
		"doc/$strategies{$strategy}{doc} has a line for each way, and says the same");
	is_deeply([ sort keys %probe ], [ sort map { $_->{id} } @$expected ], 'each way has a probe, and each probe is expected');

	@columns = @these if @these;
	my %only = map { $_ => 1 } split ' ', $ENV{ONLY} || '';
	foreach my $kind (@columns)
	{
		my (@share, @follow, @together);

		changes_nothing($kind) if $strategies{$strategy}{waits};
		foreach my $path (@$expected)
		{
			my $name = "$path->{id}, $kind";

			next if (%only && !$only{ $path->{id} }) || !$probe{ $path->{id} };
			tidy_up() if ++$tried % 20 == 0;
			my $why_not = $not_here{ $path->{id} } || $not_here{$name};
			if ($why_not)
			{
				diag "NOT RUN: $name: $why_not";
				$not_run++;
				next;
			}
			my $p = $probe{ $path->{id} };
			my $shares = can_share($path, $kind);
			my $follows = !$shares && can_follow($path, $kind);
			# what waits shows after the thaw that it writes
			my $shows = !$shares && $path->{$kind} =~ /^blocks/;
			push @share, $path if $shares;
			push @follow, $path if $follows;
			if ($shows || shown_elsewhere($path, $kind)) { }
			elsif ($strategy eq 'gate' && $shares && !$p->{alone}) { push @together, $path }
			else { next if fails($name, $p, sub { without_freeze($path, $kind, $name) }) }
			next if $shares || $follows || $ENV{UNFROZEN} || fails($name, $p, sub { with_freeze($path, $kind, $name) });
			$ran++;
		}
		without_freeze_together($kind, @together) if @together;
		next if $ENV{UNFROZEN};
		fails($kind, {}, sub { $ran += with_one_freeze($kind, @share) }) if @share;
		fails($kind, {}, sub { $ran += one_after_the_other($kind, @follow) }) if @follow;
	}
	my $cells = @$expected * @columns;
	diag "write paths: $ran of $cells cells ran, $not_run could not run here";
	is($ran + $not_run, $cells, 'every cell was run, or said why not');
	$o->close;
	$node->stop;
	done_testing();
	return;
}

1;
