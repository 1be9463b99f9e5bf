# How writes get around a freeze by a strategy that ends sessions: one freeze per
# target.  The sessions that were there before are all there at once; those of
# whom the freeze has to wait then do what they were about to do, one after the
# other, and when it is frozen everything else is tried.  Part of WritePaths.pm.
#
# With read_only a second session of each kind overrides the setting when it
# connects: that it gets through shows that what was stopped would write.  With
# disconnect the tests of revoke and gate show it, by the same probes.
package WritePaths;

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

require GateProbes;

our ($node, $o, $host, $port, $version, %probe, $dir, $superuser, $strategy, %strategies, %not_here, $override, $listener);
my $insert = 'INSERT INTO w.t2 VALUES (1)';
my $home;	# an observer in the database whose journal has the freeze

# The columns of a file.  home: where the freeze is made; shown_by: an identical
# cell of that column that needs no session of the target is the same cell.
my %columns = (
	read_only => [
		{ name => 'session', freeze => "freeze_role('app', drain_timeout => '60s')", check => "'role', 'app'" },
		{ name => 'override', same_freeze => 1, options => '-c default_transaction_read_only=off' } ],
	disconnect => [
		{ name => 'role', freeze => "freeze_role('app', mode => 'all', drain_timeout => '60s')", check => "'role', 'app', 'all'",
			refusal => '28000' },
		{ name => 'database', freeze => "freeze_database('postgres', mode => 'all', drain_timeout => '60s')", check => "'database', 'postgres', 'all'",
			home => 'elsewhere', refusal => '55000' } ]);

# ---- probes ----------------------------------------------------------------

# Ways that only such strategies are asked about.
sub probes_recycled
{
	my $file = PostgreSQL::Test::Utils::tempdir() . '/written';
	my @superuser = (setup => 'ALTER ROLE app SUPERUSER', look => sub { return -s $file ? 'there' : '' });

	probe(idle_session => before => 'SELECT 1', run => $insert);
	probe(idle_overrides => before => 'SET default_transaction_read_only = off', run => $insert);
	probe(characteristics => [ 'SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE', $insert ]);
	probe(do_override => "DO \$\$BEGIN PERFORM set_config('default_transaction_read_only', 'off', false); COMMIT; $insert; END\$\$");
	probe(function_override => setup => [ "CREATE FUNCTION w.rw() RETURNS void SET default_transaction_read_only = off LANGUAGE sql AS '$insert'",
			'GRANT EXECUTE ON FUNCTION w.rw() TO app' ], run => 'SELECT w.rw()');
	probe(copy_file => @superuser, run => "COPY (SELECT 1) TO '$file'", clean => sub { unlink $file });
	probe(lo_export => @superuser, run => "SELECT lo_export(4711, '$file')", clean => sub { unlink $file });
	probe(alter_system_superuser => setup => 'ALTER ROLE app SUPERUSER', run => "ALTER SYSTEM SET work_mem = '5MB'", clean => 'ALTER SYSTEM RESET work_mem',
		look => sub { $o->value("SELECT count(*) FROM pg_file_settings WHERE name = 'work_mem'") });
	probe(set_back => run => sub {
			my $error = statements($_[0]{s}, 'BEGIN' . ($override ? ' READ WRITE' : ''), 'ALTER ROLE app SET default_transaction_read_only = off', 'COMMIT');
			local $override;
			return $error || session('app')->query($insert);
		});
	return;
}

# Ways of the other modules, where sessions don't outlive the freeze.
sub probes_differ
{
	my @by_superuser = (run => sub { session('postgres')->query($_[0]) });

	$probe{xact_id}{look} = \&committed;
	$probe{restore_stats}{look} = sub { $o->value("SELECT relpages FROM pg_class WHERE oid = 'w.t'::regclass") };
	# raised where it is too late for a transaction to become read-write
	$probe{$_}{code} = '25001' foreach qw(set_config_write savepoint);
	# several are prepared at once, and their sessions are gone
	foreach my $id (qw(xact_prepared prepared_superuser prepared_other))
	{
		$probe{$id}{before}[-1] = "PREPARE TRANSACTION '$id'";
		$probe{$id}{run} = sub { $o->query("COMMIT PREPARED '$id'") };
		$probe{$id}{prepared} = 1;
	}
	$probe{xact_prepares}{run} = sub { $_[0]{s}->query("PREPARE TRANSACTION 'later'") || $o->query("COMMIT PREPARED 'later'") };
	$probe{cursor_hold_read}{run} = 'COMMIT';
	$probe{$_}{alone} = 1 foreach qw(parallel do_override);
	delete $probe{pg_cron}{before};
	$probe{pg_cron}{setup} = "SELECT cron.schedule_in_database('path', '1 seconds', '$insert', 'postgres', 'app')";
	if ($strategy eq 'disconnect')
	{
		# its worker is ended by a freeze of the database, and a new one is refused
		$probe{apply}{run} = sub {
			my $log = -s $node->logfile;
			$node->safe_psql('elsewhere', $insert);
			poll(sub { $o->value('SELECT count(*) FROM w.t2') || slurp_file($node->logfile, $log) =~ /"postgres" is not currently accepting connections/ });
			return undef;
		};
	}
	# in no session of a client's that the freeze is about
	$probe{$_}{sessionless} = 1 foreach qw(autovacuum autovacuum_toast apply worker worker_superuser pg_cron pg_basebackup other_database other_databases);
	return;
}

# ---- one column ------------------------------------------------------------

# Whether it is about a session that was there before the freeze.
sub there_before
{
	my ($path, $column) = @_;
	my $p = $probe{ $path->{id} };
	return $path->{id} eq 'apply' && $path->{ $column->{name} } =~ /^leak/ if $p->{sessionless};
	return ($p->{before} || $p->{go}) && ($path->{ $column->{name} } =~ /^(ended|waits)/ || !$p->{listens});
}

# A way that has no session of a client's: where it begins, the freeze may be there already.
sub begin_without_session
{
	my ($p) = @_;
	my $error = steps({}, $p->{before});
	die "before: $error->{M}" if $error;
	return {};
}

# Makes the sessions that are there before.  Each is [path, its session].
sub sessions_before
{
	my ($column, @paths) = @_;
	my @there;

	die $_->{M} foreach grep { $_ } statements($o, "CALL obs.fixture('app', true)");
	foreach my $path (sort { !!$probe{ $a->{id} }{alone} <=> !!$probe{ $b->{id} }{alone} } @paths)
	{
		my $p = $probe{ $path->{id} };
		my $error = statements($o, ref $p->{setup} ? @{ $p->{setup} } : $p->{setup} || ());
		die "$path->{id}: $error->{M}" if $error;
		push @there, [ $path, $p->{sessionless} ? {} : make_session($p) ];
	}
	return @there;
}

# Freezes.  While it drains, those who keep it from being frozen finish.
sub freeze_over
{
	my ($column, @there) = @_;
	my $name = $column->{name};
	my $f = session('postgres', database => $column->{home} || 'postgres');
	my %r;

	$f->query("SET pg_freeze.strategy = '$strategy'");
	$f->query("SELECT kind FROM pf.freeze_check($column->{check}) WHERE item = 'leak'");
	$r{check} = join "\n", map { $_->[0] } @{ $f->{rows} };
	$f->send("SELECT pf.$column->{freeze}");

	my @waits = grep { $_->[0]{$name} =~ /^waits/ } @there;
	my %blocks;
	my $who = sub { my ($path, $c) = @{ $_[0] }; return $probe{ $path->{id} }{prepared} ? $path->{id} : $c->{s}{pid} };
	eval {
		poll(sub {
				return 1 unless $f->idle;
				$home->query('SELECT pg_stat_clear_snapshot()');
				$home->query('SELECT coalesce(gid, pid::text) FROM pf.freeze_blockers');
				%blocks = map { $_->[0] => 1 } @{ $home->{rows} };
				return !grep { !$blocks{ $who->($_) } } @waits;
			});
	};
	foreach my $one (@waits)
	{
		ok($blocks{ $who->($one) }, "$one->[0]{id}, $name: keeps it from being frozen");
		ok($f->idle, "$one->[0]{id}, $name: it is not frozen yet");
	}
	# all that wait for the one advisory lock go on at once
	foreach my $goes (0, 1)
	{
		my @these = grep { $goes == !!$probe{ $_->[0]{id} }{go} } @waits;
		my %before = map { $_->[0]{id} => looks($probe{ $_->[0]{id} }, $_->[1]) } $goes ? @these : ();
		foreach (@these) { steps($_->[1], $probe{ $_->[0]{id} }{go}) }
		foreach (@these)
		{
			my ($path, $c) = @$_;
			my $p = $probe{ $path->{id} };
			my $before = $goes ? $before{ $path->{id} } : looks($p, $c);
			my $error = steps($c, $p->{run});
			my $after = looks($p, $c);
			ok(!$error, "$path->{id}, $name: goes on to its end") || diag "$error->{C} $error->{M}";
			isnt($after, $before, "$path->{id}, $name: writes before it is frozen") unless $path->{id} =~ /read$|^notify/;
		}
	}
	my $error = $f->ready;
	die "cannot freeze: $error->{M} " . ($error->{D} || '') if $error;
	$r{id} = $f->{rows}[0][0];
	$f->close;
	return \%r;
}

# What has become of the sessions that were there before.
sub after_freezing
{
	my ($column, @there) = @_;
	my $name = $column->{name};
	my @results;

	foreach (grep { $_->[0]{$name} =~ /^(ended|waits)/ && !$probe{ $_->[0]{id} }{prepared} } @there)
	{
		my ($path, $c) = @$_;
		is($o->value("SELECT count(*) FROM pg_stat_activity WHERE pid = $c->{s}{pid}"), 0, "$path->{id}, $name: its session is gone");
	}
	my $before = looks({}, {});
	foreach (grep { $_->[0]{$name} =~ /^ended/ } @there)
	{
		my ($path, $c) = @$_;
		my $error = eval { steps($c, $probe{ $path->{id} }{run}) || { C => '' } } || { C => '' };
		like($error->{C}, qr/^(57P01|08006|)$/, "$path->{id}, $name: can't go on");
	}
	is(difference($before, looks({}, {})), '', "$name: none of them has changed anything");
	foreach (grep { $_->[0]{$name} !~ /^(ended|waits)/ } @there)
	{
		my ($path, $c) = @$_;
		my $p = $probe{ $path->{id} };
		my %one = (before => looks($p, $c));
		$one{error} = steps($c, $p->{run});
		$one{after} = looks($p, $c);
		push @results, [ $path, \%one ];
	}
	return @results;
}

# Whoever is refused: nobody gets as far as an attempt.
sub refused
{
	my ($column, @paths) = @_;

	statements($o, map { $probe{ $_->{id} }{setup} } grep { $_->{id} =~ /^walsender/ } @paths);
	my $before = looks({}, {});
	foreach my $path (@paths)
	{
		my $p = $probe{ $path->{id} };
		my $walsender = $path->{id} =~ /^walsender/;
		my $s = eval { session($p->{as} || 'app', $p->{options} ? (options => $p->{options}) : (), $walsender ? (replication => 'database') : ()) };
		like($@, qr/^cannot log in as \S+: $column->{refusal} /, "$path->{id}, $column->{name}: refused");
		$s->close if $s;
	}
	is(difference($before, looks({}, {})), '', "$column->{name}: and nothing has changed");
	return;
}

# What shows a write, and is cheap where that is a row of a table.
sub look_at
{
	my ($path, $p, $c, $column) = @_;
	my $run = ref $p->{run} eq 'ARRAY' ? "@{ $p->{run} }" : $p->{run};
	my $rows = !$p->{look} && $path->{ $column->{name} } =~ /^leak/ && $run =~ /INSERT|UPDATE|nextval|setval/ && $run !~ /CREATE|EXPLAIN|ALTER|GRANT/;
	return $rows ? $o->value('SELECT obs.look(false)') : looks($p, $c);
}

# One attempt, with everything made anew where it has to be; tried once more
# where there may have been nothing left to change.
sub try_it
{
	my ($column, $path, $dirty) = @_;
	my $p = $probe{ $path->{id} };
	my @sql = ref $p->{setup} ? @{ $p->{setup} } : $p->{setup} || ();
	my %one;

	foreach my $again (0, 1)
	{
		my $large_object = "@sql" =~ /lo_from_bytea\(4711/ ? 'false' : 'true';
		my $error = statements($o, $$dirty || $again || @sql ? ("CALL obs.fixture('app', $large_object)", @sql) : ());
		die "setup: $error->{M}" if $error;
		$$dirty = 1;
		my $c = $p->{sessionless} ? begin_without_session($p) : make_session($p);
		die $error->{M} if $p->{after} && ($error = steps($c, $p->{after}));
		# less to decode at each look
		$o->value("SELECT pg_replication_slot_advance('look', pg_current_wal_lsn())") if $path->{id} =~ /emit/;
		$one{before} = look_at($path, $p, $c, $column);
		$one{error} = steps($c, $p->{run});
		$one{after} = look_at($path, $p, $c, $column);
		clean($p, $c);
		$$dirty = @sql || $p->{after} || $p->{clean} || (($p->{alone} || $path->{id} =~ /unlink/) && $one{after} ne $one{before});
		last unless $path->{ $column->{name} } =~ /^leak/ && $one{after} eq $one{before};
	}
	return \%one;
}

# What is stopped, and needs nothing of its own: none of them changes anything.
sub stopped_together
{
	my ($column, @paths) = @_;
	my @results;

	die $_->{M} foreach grep { $_ } statements($o, "CALL obs.fixture('app', true)");
	my $before = looks({}, {});
	foreach my $path (@paths)
	{
		my $c = make_session($probe{ $path->{id} });
		push @results, [ $path, { before => '', after => '', error => steps($c, $probe{ $path->{id} }{run}) } ];
		clean($probe{ $path->{id} }, $c);
	}
	return looks({}, {}) eq $before ? @results : ();
}

# Everything else, one after the other.
sub attempts
{
	my ($column, @paths) = @_;
	my ($dirty, @results) = (1);

	local $override = $column->{options};
	local $ENV{PGOPTIONS} = $column->{options} || '';
	my @together = grep { my $p = $probe{ $_->{id} }; $_->{ $column->{name} } =~ /^stopped/ && !grep { $p->{$_} } qw(setup after look clean sessionless) } @paths;
	@results = stopped_together($column, @together) if @together > 1;
	my %done = map { $_->[0]{id} => 1 } @results;
	foreach my $path (grep { !$done{ $_->{id} } } @paths)
	{
		my $one = eval { try_it($column, $path, \$dirty) } || { died => $@ };
		push @results, [ $path, $one ];
	}
	return @results;
}

sub thaw_over
{
	my ($r) = @_;
	$home->query("SELECT leaks, also_stops FROM pf.freeze_status WHERE id = $r->{id}");
	@$r{qw(leaks also_stops)} = map { defined $_ ? $_ : '' } @{ $home->{rows}[0] };
	my $error = $home->query("SELECT held, lost_reason FROM pf.thaw($r->{id})");
	die "cannot thaw: $error->{M}" if $error;
	@$r{qw(held lost)} = map { defined $_ ? $_ : 'unknown' } @{ $home->{rows}[0] };
	return;
}

# The last of all, because it ends the freeze: it comes back.
sub set_back
{
	my ($column, $path) = @_;
	my $before = freeze_over({ %{ $columns{read_only}[0] }, name => $column->{name} });
	my @results = attempts($column, $path);
	thaw_over($before);
	return judge($probe{ $path->{id} }, $path->{ $column->{name} }, "$path->{id}, $column->{name}", { %$before, %{ $results[0][1] } });
}

# ---- all of them -----------------------------------------------------------

sub write_paths_recycled
{
	# sessions that have been ended are still written to
	local $SIG{PIPE} = 'IGNORE';
	# nobody ends it
	$listener = 'postgres';
	start_server();
	my ($expected, @columns) = read_expected();
	my %expected = map { $_->{id} => 1 } @$expected;
	my ($ran, $not_run, $r) = (0, 0);

	probes();
	my %common = %probe;
	probes_of_gate();
	probes_recycled();
	probes_differ();
	delete @probe{ grep { !$expected{$_} && !$common{$_} } keys %probe };
	is_deeply(documented(scalar @columns), { map { $_->{id} => join ', ', @{ $_->{text} } } @$expected },
		"doc/$strategies{$strategy}{doc} has a line for each way, and says the same");
	is_deeply([ sort keys %probe ], [ sort keys %expected ], 'each way has a probe, and each probe is expected');

	$node->safe_psql('elsewhere', 'CREATE SCHEMA pf; CREATE EXTENSION pg_freeze SCHEMA pf');
	my %only = map { $_ => 1 } split ' ', $ENV{ONLY} || '';
	foreach my $column (@{ $columns{$strategy} })
	{
		my $name = $column->{name};
		my (@there, @refused, @attempts, @last);
		$home = session('postgres', database => $column->{home} || 'postgres') unless $column->{same_freeze};

		foreach my $path (@$expected)
		{
			my $p = $probe{ $path->{id} } or next;
			my $why_not = $not_here{ $path->{id} } || $not_here{"$path->{id}, $name"};
			next if %only && !$only{ $path->{id} };
			if ($why_not)
			{
				diag "NOT RUN: $path->{id}, $name: $why_not";
				$not_run++;
				next;
			}
			$ran++;
			# the same cell, if it is about no session that can say anything
			next if $column->{same_freeze} && $path->{override} eq $path->{session}
				&& (there_before($path, $column) || $p->{sessionless} || ($p->{as} || 'app') ne 'app');
			push @{ $path->{id} eq 'set_back' ? \@last : $path->{$name} =~ /^refused/ ? \@refused : there_before($path, $column) ? \@there : \@attempts }, $path;
		}
		eval {
			my @kept = $column->{same_freeze} ? () : sessions_before($column, @there);
			$r = freeze_over($column, @kept) unless $column->{same_freeze};
			my @results = after_freezing($column, @kept) if @kept;
			clean($probe{ $_->[0]{id} }, $_->[1]) foreach @kept;
			refused($column, @refused) if @refused;
			push @results, attempts($column, @attempts);
			$column->{results} = \@results;
			1;
		} or fail("$name: $@");
		if (!$column->{results})
		{
			eval { recover({}) };
			return done_testing();
		}
		# a freeze that several columns share ends with the last of them
		next if grep { $_->{same_freeze} && !$_->{results} } @{ $columns{$strategy} };
		thaw_over($r);
		foreach my $c (grep { $_->{results} } @{ $columns{$strategy} })
		{
			foreach (@{ delete $c->{results} })
			{
				my ($path, $one) = @$_;
				if ($one->{died}) { fail("$path->{id}, $c->{name}: $one->{died}"); next }
				judge($probe{ $path->{id} }, $path->{ $c->{name} }, "$path->{id}, $c->{name}", { %$r, %$one });
			}
		}
		ok(!session('app')->query($insert), "$name: after the thaw it writes");
	}
	foreach my $path (grep { $only{set_back} || !%only } grep { $_->{id} eq 'set_back' } @$expected)
	{
		set_back($_, $path) foreach @{ $columns{$strategy} };
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
