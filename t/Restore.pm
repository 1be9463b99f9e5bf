# What the tests of backups share: a server with an application that writes, in
# tablespaces and in files outside; copies of it, and servers restored from them.

package Restore;

use strict;
use warnings;

use BooksClient ();
use Digest::MD5 ();
use Exporter 'import';
use File::Copy ();
use File::Find ();
use File::Path ();
use IPC::Run ();
use JSON::PP ();
use PgFreezeTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

our @EXPORT = qw(
  new_source start_load stop_load load_goes_on
  backup_begin backup_end
  copy_files copy_atomically restore
  content same_content files_match rows_match sound not_run
);

my @databases = qw(postgres second);
# clients by number, and where they write
my %clients = (1 => 'postgres', 2 => 'postgres', 3 => 'second');
my (@running, $bench);
my $not_run = 0;

# ---- the server ----------------------------------------------------------------------

# With checksums, two tablespaces, and an application in two databases.
sub new_source
{
	my ($name, %opt) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir($name);
	my $node = new_server($name, streaming => 1, archiving => 1, initdb => [ '--data-checksums', '--wal-segsize=1', '-X', "$dir/wal" ],
		conf => "autovacuum_naptime = 1\nlog_statement = none\npg_freeze.max_wait = '5min'\n" . ($opt{conf} || ''));

	mkdir "$dir/$_" or die "$dir/$_: $!" foreach qw(one two outside);
	sql($node, "CREATE TABLESPACE one LOCATION '$dir/one'");
	sql($node, "CREATE TABLESPACE two LOCATION '$dir/two'");
	sql($node, q{
CREATE ROLE app LOGIN;
CREATE ROLE reader LOGIN;
CREATE DATABASE second;
GRANT CREATE ON TABLESPACE one, two TO app;
});
	foreach my $db (@databases)
	{
		my $here = join ',', grep { $clients{$_} eq $db } sort keys %clients;

		sql($node, qq{
CREATE EXTENSION pg_freeze;
CREATE SCHEMA app AUTHORIZATION app;
GRANT USAGE ON SCHEMA app TO reader;
SET ROLE app;
CREATE TABLE app.documents (client int, n int, content text, PRIMARY KEY (client, n) USING INDEX TABLESPACE two) TABLESPACE one;
CREATE TABLE app.totals (client int PRIMARY KEY, n int) TABLESPACE two;
CREATE TABLE app.events (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, client int, note text, at timestamptz DEFAULT clock_timestamp());
CREATE TABLE app.accounts (id int PRIMARY KEY, balance int NOT NULL, filler text) WITH (fillfactor = 50);
CREATE INDEX ON app.accounts (balance) TABLESPACE one;
GRANT SELECT, INSERT, UPDATE ON app.accounts TO reader;
INSERT INTO app.totals SELECT unnest('{$here}'::int[]), 0;
INSERT INTO app.accounts SELECT i, 0, repeat('x', 80) FROM generate_series(1, 4000) i;
}, db => $db);
	}
	# not where strategy lock is asked whether it held: there they are a leak
	sql($node, q{SELECT lo_from_bytea(0, decode(repeat('ab', 5000), 'hex'))}, db => 'second', user => 'app');
	$node->{outside} = "$dir/outside";
	return $node;
}

# ---- the load ------------------------------------------------------------------------

sub start_load
{
	my ($node) = @_;
	my $dir = $node->{outside};
	my $script = PostgreSQL::Test::Utils::tempdir('load') . '/script.sql';

	unlink "$dir/stop";
	foreach my $client (sort keys %clients)
	{
		push @running, IPC::Run::start([ $^X, '-I', $INC{'BooksClient.pm'} =~ s{/[^/]*$}{}r, '-MBooksClient', '-e', 'BooksClient::run(@ARGV)',
				$node->host . '/.s.PGSQL.' . $node->port, $clients{$client}, $dir, $client ], '<', \undef);
	}
	append_to_file($script, q{
\set a random(1, 2000)
\set b random(2001, 4000)
\set d random(1, 100)
BEGIN;
UPDATE app.accounts SET balance = balance - :d WHERE id = :a;
UPDATE app.accounts SET balance = balance + :d WHERE id = :b;
END;
\sleep 10 ms
});
	my $out = '';
	$bench = IPC::Run::start([ $node->installed_command('pgbench'), '-n', '-c', '3', '-T', '600', '-f', $script,
			'-h', $node->host, '-p', $node->port, '-U', 'app', 'postgres' ], '<', \undef, '>', \$out, '2>', \$out);
	load_goes_on($node);
	return;
}

# Ends it; dies where a client saw an error.
sub stop_load
{
	my ($node) = @_;

	append_to_file("$node->{outside}/stop", '');
	$bench->signal('TERM');
	eval { $bench->finish };
	foreach my $client (@running)
	{
		$client->finish or die 'a client of the application saw an error';
	}
	@running = ();
	undef $bench;
	wait_until($node, q{SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE usename = 'app')});
	return;
}

# Polls until every client has committed some more documents, and pgbench moved something.
sub load_goes_on
{
	my ($node, $more) = @_;
	my $end = time + $PostgreSQL::Test::Utils::timeout_default;
	my $moved = q{SELECT md5(string_agg(a::text, '' ORDER BY id)) FROM app.accounts a};
	my $before = sql($node, $moved);
	my %before = map { $_ => done($node->{outside}, $_) } keys %clients;

	foreach my $client (sort keys %clients)
	{
		while (done($node->{outside}, $client) < $before{$client} + ($more || 20))
		{
			die "client $client does not go on" if time > $end;
			usleep(10_000);
		}
	}
	return wait_until($node, "SELECT '$before' IS DISTINCT FROM ($moved)");
}

END
{
	local $?;
	$_->kill_kill foreach grep { defined } @running, $bench;
	diag("$not_run could not be run here") if $not_run;
}

# How many documents a client knows to be committed.
sub done
{
	my ($dir, $client) = @_;
	return -s "$dir/done.$client" || 0;
}

# ---- a backup ------------------------------------------------------------------------

sub backup_begin
{
	my ($node, $arguments, %opt) = @_;
	return sql($node, "SELECT freeze_backup_begin($arguments)", %opt);
}

# What freeze_backup_end() returns, by column.
sub backup_end
{
	my ($node, $arguments, %opt) = @_;
	return JSON::PP::decode_json(sql($node, "SELECT row_to_json(e) FROM freeze_backup_end($arguments) e", %opt));
}

# ---- copies --------------------------------------------------------------------------

sub tablespaces
{
	my ($node) = @_;
	return map { split /\|/ } split /\n/, sql($node, q{SELECT oid, pg_tablespace_location(oid) FROM pg_tablespace WHERE pg_tablespace_location(oid) <> ''});
}

# A new folder for a copy: data, tablespaces by OID, and the files outside.
sub new_copy
{
	my %copy = (dir => PostgreSQL::Test::Utils::tempdir('copy'));

	$copy{$_} = "$copy{dir}/$_" foreach qw(data outside);
	return \%copy;
}

# The server's files but for what a backup leaves out, one by one, as a tool does
# that is not atomic.  What the checkpoint in the middle writes is missing in the
# files that come before it, while the control file, which comes last, says that
# it is there: without the label of the backup that is lost.
sub copy_files
{
	my ($node) = @_;
	my $copy = new_copy();
	my %tablespaces = tablespaces($node);
	my $data = $node->data_dir;

	system_or_bail('cp', '-a', $node->{outside}, $copy->{outside}) if $node->{outside};
	mkdir $copy->{data}, 0700 or die $!;
	copy_tree($tablespaces{$_}, "$copy->{dir}/$_") foreach sort keys %tablespaces;
	copy_tree("$data/base", "$copy->{data}/base");
	sql($node, 'CHECKPOINT');
	copy_tree($data, $copy->{data}, qr{^(?:pg_wal|pg_replslot|pg_dynshmem|pg_notify|pg_serial|pg_snapshots|pg_stat_tmp|pg_subtrans|pg_tblspc)/.|^base/|^postmaster\.|^pg_wal$|^global/pg_control$});
	mkdir "$copy->{data}/pg_wal", 0700 or die $!;
	File::Copy::copy("$data/global/pg_control", "$copy->{data}/global/pg_control") or die "pg_control: $!";
	$copy->{tablespaces} = [ sort keys %tablespaces ];
	return $copy;
}

sub copy_tree
{
	my ($from, $to, $without) = @_;

	File::Find::find({ no_chdir => 1, wanted => sub {
		my $name = substr($File::Find::name, length($from) + 1) if $File::Find::name ne $from;

		if (!defined $name)
		{
			mkdir $to, 0700 unless -d $to;
			return;
		}
		return if $name =~ /pgsql_tmp|pg_internal\.init/ || ($without && $name =~ $without);
		if (-d $File::Find::name)
		{
			mkdir "$to/$name", 0700 or -d "$to/$name" or die "$to/$name: $!";
			return;
		}
		# it may go meanwhile, and then the WAL says so
		File::Copy::copy($File::Find::name, "$to/$name") or $!{ENOENT} or die "$File::Find::name: $!";
	} }, $from);
	return;
}

sub stopped
{
	my ($pid) = @_;

	open my $stat, '<', "/proc/$pid/stat" or return 1;
	my $line = <$stat>;
	return !defined $line || $line =~ /\) [TZX] /;
}

# Everything, WAL included, while no process of the server moves: what a snapshot
# of the volumes that is atomic over all of them would have.
sub copy_atomically
{
	my ($node) = @_;
	my $copy = new_copy();
	my %tablespaces = tablespaces($node);
	my $postmaster = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
	my $wal = $node->data_dir . '/pg_wal';
	my $end = time + $PostgreSQL::Test::Utils::timeout_default;
	my $cp = sub { system('cp', '-a', @_) == 0 or die "cp -a @_ failed" };
	my @pids;

	# nobody stays stopped if this is
	my $ok = eval {
		local @SIG{qw(INT TERM HUP)} = (sub { die "interrupted\n" }) x 3;

		# the postmaster first, so that no other comes
		for (kill 'STOP', $postmaster;; usleep(1000))
		{
			die 'the server does not stop' if time > $end;
			next unless stopped($postmaster);
			@pids = backends($node, qr/./);
			kill 'STOP', @pids;
			last unless grep { !stopped($_) } @pids;
		}
		$cp->($node->{outside}, $copy->{outside}) if $node->{outside};
		$cp->($node->data_dir, $copy->{data});
		$cp->(readlink $wal, "$copy->{dir}/wal") if -l $wal;
		$cp->($tablespaces{$_}, "$copy->{dir}/$_") foreach keys %tablespaces;
		1;
	};
	my $error = $@;
	kill 'CONT', @pids, $postmaster;
	die $error unless $ok;
	if (-l $wal)
	{
		unlink "$copy->{data}/pg_wal";
		rename "$copy->{dir}/wal", "$copy->{data}/pg_wal" or die "pg_wal: $!";
	}
	unlink "$copy->{data}/postmaster.pid";
	unlink glob "$copy->{data}/pg_tblspc/*";
	$copy->{tablespaces} = [ sort keys %tablespaces ];
	return $copy;
}

# A server of a copy, which stays as it is.  label, map: the contents of
# backup_label and tablespace_map; archive: the folder to restore WAL from.  Without
# these it is started as after a crash.  standby_of: the node that it follows.
sub restore
{
	my ($name, $copy, %opt) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	my $data = $node->data_dir;
	my %place = map { $_ => PostgreSQL::Test::Utils::tempdir("${name}_$_") } @{ $copy->{tablespaces} };

	rmdir $data;
	system_or_bail('cp', '-a', $copy->{data}, $data);
	system_or_bail('cp', '-a', "$copy->{dir}/$_/.", $place{$_}) foreach keys %place;
	if ($opt{label})
	{
		append_to_file("$data/backup_label", $opt{label});
		if ($opt{map})
		{
			my $map = $opt{map} =~ s{^(\d+) .*$}{"$1 " . ($place{$1} || die "tablespace $1 is not in the copy")}gemr;
			append_to_file("$data/tablespace_map", $map);
		}
	}
	else
	{
		symlink $place{$_}, "$data/pg_tblspc/$_" or die $! foreach keys %place;
	}
	$node->append_conf('postgresql.conf', "\nport = " . $node->port . "\nunix_socket_directories = '" . $node->host . "'\narchive_mode = off\n");
	if ($opt{archive})
	{
		$node->append_conf('postgresql.conf', "restore_command = 'cp \"$opt{archive}/%f\" \"%p\"'\n");
		append_to_file("$data/recovery.signal", '') unless $opt{standby_of};
	}
	if ($opt{standby_of})
	{
		$node->append_conf('postgresql.conf', "primary_conninfo = '" . $opt{standby_of}->connstr . "'\n");
		append_to_file("$data/standby.signal", '');
	}
	$node->append_conf('postgresql.conf', $opt{conf}) if $opt{conf};
	$node->start;
	wait_until($node, 'SELECT NOT pg_is_in_recovery()') unless $opt{standby_of};
	return $node;
}

# ---- comparisons ---------------------------------------------------------------------

# Every table's rows, and every large object, of all databases or some, but for
# what is pg_freeze's own.
sub content
{
	my ($node, @which) = @_;
	my %content;

	foreach my $db (@which ? @which : @databases)
	{
		foreach my $line (split /\n/, sql($node, q{
SELECT format('SELECT %L, count(*), md5(string_agg(t::text, E''\n'' ORDER BY t::text COLLATE "C")) FROM %s t', c.oid::regclass, c.oid::regclass)
FROM pg_class c
WHERE c.relkind = 'r' AND c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) AND c.relpersistence = 'p'
	AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')
UNION ALL
SELECT 'SELECT ''large objects'', count(*), md5(string_agg(oid || lomowner::text || encode(lo_get(oid), ''hex''), '' '' ORDER BY oid)) FROM pg_largeobject_metadata'
\gexec
}, db => $db))
		{
			my ($table, $rows) = split /\|/, $line, 2;
			$content{"$db $table"} = $rows;
		}
	}
	return \%content;
}

sub same_content
{
	my ($got, $expected, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my @differ = grep { ($got->{$_} // 'nothing') ne ($expected->{$_} // 'nothing') } sort keys %{ { %$got, %$expected } };

	cmp_ok(scalar(keys %$expected), '>=', 5, "$what: something was compared");
	return is(join("\n", map { "$_: " . ($got->{$_} // 'nothing') . ' instead of ' . ($expected->{$_} // 'nothing') } @differ), '', $what);
}

# The rows of each client: what one transaction has written is there as a whole,
# and every number from 1 on.  Returns how many, by client.
sub rows_match
{
	my ($node, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my (%rows, @wrong);

	foreach my $client (sort keys %clients)
	{
		my ($count, $last, $total, $events) = split /\|/, sql($node, qq{
SELECT count(*), coalesce(max(n), 0), (SELECT n FROM app.totals WHERE client = $client), (SELECT count(*) FROM app.events WHERE client = $client)
FROM app.documents WHERE client = $client}, db => $clients{$client});
		push @wrong, "client $client: $count documents up to $last, total $total, events $events"
		  if $count != $last || $count != $total || $count != $events;
		$rows{$client} = $count;
	}
	push @wrong, 'the accounts do not add up' if sql($node, 'SELECT sum(balance) FROM app.accounts') ne '0';
	is(join("\n", @wrong), '', "$what: no transaction is there by half");
	return \%rows;
}

# How the files outside that were copied and the rows of a server go together:
# what was acknowledged when the files were copied is there, and nothing whose
# file is not.  Returns what doesn't, '' if all does.
sub files_match
{
	my ($node, $copy) = @_;
	my @wrong;

	foreach my $client (sort keys %clients)
	{
		my %rows = map { split /\|/ } split /\n/, sql($node, "SELECT n, md5(content) FROM app.documents WHERE client = $client", db => $clients{$client});
		my $done = done($copy->{outside}, $client);
		my @files = map { "document.$client.$_" } sort { $a <=> $b } keys %rows;

		push @wrong, "client $client: " . scalar(keys %rows) . " rows, $done acknowledged" if keys %rows < $done;
		my @missing = grep { !-e "$copy->{outside}/$_" } @files;
		push @wrong, "client $client: no file for " . scalar(@missing) . " rows, the first is $missing[0]" if @missing;
		foreach my $file (grep { -e "$copy->{outside}/$_" } @files)
		{
			push @wrong, "$file differs" if Digest::MD5::md5_hex(slurp_file("$copy->{outside}/$file")) ne $rows{ $file =~ s/.*\.//r };
		}
		my @surplus = glob "$copy->{outside}/document.$client.*";
		push @wrong, "client $client: " . scalar(@surplus) . ' files for ' . scalar(keys %rows) . ' rows' if @surplus > keys(%rows) + 1;
	}
	return join "\n", @wrong;
}

# What could not be run is said, and how much that is.
sub not_run
{
	my ($what, $why) = @_;

	diag("NOT RUN: $what ($why)");
	$not_run++;
	return;
}

# pg_amcheck and pg_checksums find nothing.  Stops the server.
sub sound
{
	my ($node, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	if (sql($node, q{SELECT count(*) FROM pg_available_extensions WHERE name = 'amcheck'}) eq '0' || !-x $node->config_data('--bindir') . '/pg_amcheck')
	{
		not_run("$what: pg_amcheck", 'amcheck is not installed');
	}
	else
	{
		my ($out, $err) = ('', '');
		ok(IPC::Run::run([ $node->installed_command('pg_amcheck'), (map { ('-d', $_) } @databases), '--install-missing', '--heapallindexed', '--parent-check', '-h', $node->host, '-p', $node->port ],
				'<', \undef, '>', \$out, '2>', \$err), "$what: pg_amcheck") || diag($out, $err);
	}
	$node->stop;
	my ($out, $err) = ('', '');
	ok(IPC::Run::run([ $node->installed_command('pg_checksums'), '--check', '-D', $node->data_dir ], '<', \undef, '>', \$out, '2>', \$err),
		"$what: pg_checksums") || diag($out, $err);
	cmp_ok(($out =~ /Blocks scanned:\s+(\d+)/)[0] // 0, '>', 1000, "$what: which has looked at something");
	return;
}

1;
