# What the TAP tests of pg_freeze share: servers, an application to freeze, raw
# dumps of all privileges, psql with SQLSTATE and psql in the background.

package PgFreezeTest;

use strict;
use warnings;

use Exporter 'import';
use File::Spec ();
use IO::Select ();
use IO::Socket::UNIX ();
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

our @EXPORT = qw(
  new_server sql try_sql privileges same_privileges make_application
  server_back start_sql finish_sql wait_start open_session backends wait_until
  sql_with_slot start_in_slot
  live unfinished start_again log_size
  kill_backend journal recovered next_call
  strong_locks statement_goes writing goes_on
  commits_in_holds open_dba ask
  start_login next_message login_result connect_by
);

# A running server; conf => text is appended to its configuration, initdb => [...]
# are options of initdb.
sub new_server
{
	my ($name, %opt) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(allows_streaming => $opt{streaming} || 0, has_archiving => $opt{archiving} || 0, extra => $opt{initdb});
	$node->append_conf('postgresql.conf', q{
max_connections = 100
shared_buffers = 64MB
max_worker_processes = 20
max_prepared_transactions = 10
wal_receiver_status_interval = 1
log_min_messages = info
log_line_prefix = '%m [%p] %q%a '
});
	$node->append_conf('postgresql.conf', $opt{conf}) if $opt{conf};
	$node->start unless $opt{stopped};
	return $node;
}

sub psql_arguments
{
	my (%opt) = @_;
	return ('-U', $opt{user}) if $opt{user};
	return ();
}

# $node->psql, again where psql went away before it had read the statement: a
# server that is just crashing refuses it so fast that feeding it fails.
sub run_psql
{
	my ($node, @arguments) = @_;

	foreach my $try (1 .. 20)
	{
		my @result = eval { $node->psql(@arguments) };
		return @result unless $@;
		die $@ unless $@ =~ /Broken pipe/ && $try < 20;
		select(undef, undef, undef, 0.1);
	}
}

# Polls until the server takes statements.
sub server_back
{
	my ($node) = @_;
	my $end = time + $PostgreSQL::Test::Utils::timeout_default;

	while (time < $end)
	{
		my ($out, $err) = ('', '');
		return 1 if IPC::Run::run([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', 'SELECT true' ],
			'<', File::Spec->devnull, '>', \$out, '2>', \$err);
		select(undef, undef, undef, 0.1);
	}
	return 0;
}

# The result of a statement that must not fail.
sub sql
{
	my ($node, $sql, %opt) = @_;
	my ($rc, $out, $err) = run_psql($node, $opt{db} || 'postgres', $sql,
		on_error_stop => 1, extra_params => [ psql_arguments(%opt) ]);

	die "\"$sql\" failed in " . $node->name . ": $err" if $rc != 0;
	return $out;
}

# (SQLSTATE, output, stderr) of statements that may fail; SQLSTATE is '' if none did.
sub try_sql
{
	my ($node, $sql, %opt) = @_;
	my ($rc, $out, $err) = run_psql($node, $opt{db} || 'postgres', $sql,
		on_error_stop => 1, extra_params => [ '-v', 'VERBOSITY=verbose', psql_arguments(%opt) ]);

	return (sqlstate($err), $out, $err);
}

sub sqlstate
{
	my ($err) = @_;
	return $1 if $err =~ /^(?:psql:[^\n]*?)?(?:ERROR|FATAL|PANIC):  ([0-9A-Z]{5}):/m;
	return $err =~ /FATAL|server closed|could not|connection to server/ ? '08000' : '';
}

# Everything in the catalogs that carries a privilege, a login or a setting of
# roles and databases, raw: NULL is not {}, and
# the order inside of an ACL counts.  Rows are in the order of their keys,
# because their place in the heap may change.
my @catalogs = (
	[ 'pg_class', 'oid, oid::regclass::text, relowner, relacl' ],
	[ 'pg_attribute', 'attrelid, attnum, attacl', 'attacl IS NOT NULL' ],
	[ 'pg_namespace', 'oid, nspname, nspowner, nspacl', q{nspname !~ '^pg_(toast_)?temp_'} ],
	[ 'pg_database', 'oid, datname, datdba, datallowconn, datconnlimit, datacl' ],
	[ 'pg_largeobject_metadata', 'oid, lomowner, lomacl' ],
	[ 'pg_default_acl', 'oid, defaclrole, defaclnamespace, defaclobjtype, defaclacl' ],
	[ 'pg_proc', 'oid, proowner, proacl' ],
	[ 'pg_type', 'oid, typowner, typacl' ],
	[ 'pg_language', 'oid, lanname, lanowner, lanacl' ],
	[ 'pg_foreign_server', 'oid, srvname, srvowner, srvacl' ],
	[ 'pg_foreign_data_wrapper', 'oid, fdwname, fdwowner, fdwacl' ],
	[ 'pg_tablespace', 'oid, spcname, spcowner, spcacl' ],
	[ 'pg_parameter_acl', 'oid, parname, paracl' ],
	[ 'pg_auth_members', 'm.*' ],
	[ 'pg_authid', 'oid, rolname, rolsuper, rolinherit, rolcanlogin, rolconnlimit' ],
	[ 'pg_db_role_setting', 'm.*' ],
	[ 'pg_shseclabel', q{objoid, classoid, provider, regexp_replace(label, '\d+@', '@', 'g')} ],
	[ 'pg_init_privs', 'objoid, classoid, objsubid, privtype, initprivs' ],
	[ 'pg_shdepend', 'dbid, classid, objid, objsubid, refclassid, refobjid, deptype',
		'dbid = 0 OR dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())' ],
);

sub privileges
{
	my ($node, %opt) = @_;
	my @parts;

	foreach my $catalog (@catalogs)
	{
		my ($name, $columns, $condition) = @$catalog;
		push @parts, "SELECT '$name' AS catalog, ROW($columns)::text AS row FROM pg_catalog.$name m"
		  . ($condition ? " WHERE $condition" : '');
	}
	return sql($node, 'SELECT catalog, row FROM (' . join(' UNION ALL ', @parts) . q{) x ORDER BY catalog COLLATE "C", row COLLATE "C"},
		%opt);
}

# Compares two dumps and says which rows differ.
sub same_privileges
{
	my ($got, $expected, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return pass($what) if $got eq $expected;
	my %old = map { $_ => 1 } split /\n/, $expected;
	my %new = map { $_ => 1 } split /\n/, $got;
	my @lost = grep { !$new{$_} } split /\n/, $expected;
	my @came = grep { !$old{$_} } split /\n/, $got;
	my $n = @lost > @came ? @lost : @came;
	splice @lost, 10 if @lost > 10;
	splice @came, 10 if @came > 10;
	fail($what);
	diag("$n rows differ; the first of them:\n", map({ "- $_\n" } @lost), map { "+ $_\n" } @came);
	return 0;
}

# The roles: app owns tables, agent has nothing but grants, other owns the rest
# and gave to both.  "tables" of app's tables, a third as many of other's.
sub make_application
{
	my ($node, %opt) = @_;
	my $tables = $opt{tables} || 20;
	my $others = int($tables / 3) + 1;

	sql($node, q{
CREATE ROLE app LOGIN;
CREATE ROLE agent LOGIN;
CREATE ROLE other LOGIN;
CREATE ROLE reader LOGIN;
CREATE ROLE caller LOGIN SUPERUSER;
}) unless $opt{roles_exist};
	sql($node, qq{
CREATE EXTENSION IF NOT EXISTS pg_freeze;
CREATE SCHEMA app AUTHORIZATION app;
CREATE SCHEMA other AUTHORIZATION other;
SET ROLE other;
GRANT USAGE, CREATE ON SCHEMA other TO app;
GRANT USAGE ON SCHEMA other TO agent, reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA other GRANT SELECT, INSERT ON TABLES TO agent;
SELECT format('CREATE TABLE other.t%s (id int, note text)', i),
	format('GRANT SELECT, INSERT, UPDATE ON other.t%s TO app WITH GRANT OPTION', i),
	format('GRANT UPDATE (note), SELECT ON other.t%s TO reader', i)
FROM generate_series(1, $others) i
\\gexec
CREATE SEQUENCE other.s;
GRANT USAGE ON SEQUENCE other.s TO app, agent;
SET ROLE app;
CREATE TABLE app.writes (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, who int, at timestamptz DEFAULT clock_timestamp());
SELECT format('CREATE TABLE app.t%s (id int, note text)', i)
FROM generate_series(1, $tables) i
\\gexec
SELECT format('GRANT SELECT, INSERT ON app.t%s TO reader', i)
FROM generate_series(1, $tables, 3) i
\\gexec
GRANT INSERT ON other.t1 TO reader;
RESET ROLE;
CREATE SCHEMA spare;
GRANT USAGE, CREATE ON SCHEMA spare TO reader;
}, db => $opt{db});
	return;
}

# psql in the background, fed with "sql"; for finish_sql().
sub start_sql
{
	my ($node, $sql, %opt) = @_;
	my %running = (out => '', err => '');
	my $script = PostgreSQL::Test::Utils::tempdir('pg_freeze') . '/script.sql';

	# a file: what is fed through a pipe is sent only when this process pumps
	append_to_file($script, $sql);
	$running{started} = time;
	$running{harness} = IPC::Run::start(
		[
			$node->installed_command('psql'), '-XAtq', '-v', 'ON_ERROR_STOP=1', '-v', 'VERBOSITY=verbose',
			'-d', $node->connstr($opt{db} || 'postgres'), psql_arguments(%opt), '-f', $script
		],
		'<', \undef, '>', \$running{out}, '2>', \$running{err},
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return \%running;
}

# (SQLSTATE, output, stderr) of what start_sql() started, when it has ended.
sub finish_sql
{
	my ($running) = @_;

	$running->{harness}->finish;
	chomp $running->{out};
	return (sqlstate($running->{err}), $running->{out}, $running->{err});
}

# The result of a statement that must not fail, as sql(), where worker slots are
# few: one that somebody gives back is free a moment later.
sub sql_with_slot
{
	my ($node, $sql, %opt) = @_;
	my $end = time + $PostgreSQL::Test::Utils::timeout_default;

	for (;;)
	{
		my ($state, $out, $err) = try_sql($node, $sql, %opt);

		return $out if $state eq '';
		die "\"$sql\" failed in " . $node->name . ": $err" if $state ne '53400' || time > $end;
		usleep(50_000);
	}
}

# start_sql() of a statement that stays in its worker slot, in the same way:
# returns when a query answers "t".
sub start_in_slot
{
	my ($node, $sql, $query, %opt) = @_;
	my $end = time + $PostgreSQL::Test::Utils::timeout_default;

	for (;;)
	{
		my $running = start_sql($node, $sql, %opt);

		while ($running->{harness}->pumpable)
		{
			return $running if sql($node, $query, db => $opt{db}) eq 't';
			$running->{harness}->pump_nb;
		}
		my ($state, undef, $err) = finish_sql($running);
		die "\"$sql\" ended before \"$query\": $err" if $state ne '53400' || time > $end;
		usleep(50_000);
	}
}

# A session that stays, as a PostgreSQL::Test::BackgroundPsql.
sub open_session
{
	my ($node, %opt) = @_;
	return $node->background_psql($opt{db} || 'postgres', on_error_stop => 0,
		extra_params => [ psql_arguments(%opt) ]);
}

# Polls until a query answers "t".
sub wait_until
{
	my ($node, $query, %opt) = @_;
	return $node->poll_query_until($opt{db} || 'postgres', $query)
	  || die "timed out waiting for: $query";
}

# The pids of this server's processes whose title matches.  Reads /proc, because
# a query would take longer than what is looked for lives.
sub backends
{
	my ($node, $pattern) = @_;
	my $postmaster = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
	my @found;

	foreach my $pid (map { m{/(\d+)$} } glob '/proc/[0-9]*')
	{
		open my $stat, '<', "/proc/$pid/stat" or next;
		my $line = <$stat>;
		close $stat;
		next unless defined $line && $line =~ /\) \S (\d+) / && $1 == $postmaster;
		open my $title, '<', "/proc/$pid/cmdline" or next;
		my $text = <$title>;
		close $title;
		push @found, $pid if defined $text && $text =~ $pattern;
	}
	return @found;
}

# The ids of live freezes, and the rows that no process has any business to leave.
sub live
{
	my ($node, %opt) = @_;
	return split /\n/, sql($node, q{SELECT id FROM freeze_journal WHERE state NOT IN ('thawed', 'aborted') ORDER BY id}, %opt);
}

sub unfinished
{
	my ($node, %opt) = @_;
	return sql($node, q{SELECT string_agg(id || ' ' || state, ', ') FROM freeze_journal WHERE state IN ('engaging', 'draining', 'thawing')}, %opt);
}

# Starts a server whose postmaster was killed: processes of the old one may
# still be attached to its shared memory.
sub start_again
{
	my ($node) = @_;
	my $end = time + $PostgreSQL::Test::Utils::timeout_default;

	while (time < $end)
	{
		return if $node->start(fail_ok => 1);
		usleep(100_000);
		# a start that timed out may have come to run
		$node->stop('fast', fail_ok => 1);
	}
	die 'the server does not start again';
}

# kill -9 of a server's process; returns when the postmaster has seen it.
sub kill_backend
{
	my ($pid) = @_;

	return 0 unless kill 'KILL', $pid;
	usleep(1000) while -e "/proc/$pid";
	return 1;
}

# What the journal says after a crash: what nobody has finished, changes that
# are left of freezes that have ended, live freezes, whether they are in force
# ("yes" or what came back), and the last freeze of a role.
sub journal
{
	my ($node) = @_;
	my %row;

	@row{qw(unfinished orphans live force id state engaged end_reason)} = split /\|/, sql($node, q{
SELECT (SELECT string_agg(id || ' ' || state, ', ') FROM freeze_journal WHERE state IN ('engaging', 'draining', 'thawing')),
	(SELECT count(*) FROM (SELECT freeze_id, outcome FROM freeze_journal_change UNION ALL SELECT freeze_id, outcome FROM freeze_journal_value) c
		LEFT JOIN freeze_journal j ON j.id = c.freeze_id
		WHERE c.outcome IS NULL AND (j.id IS NULL OR j.state IN ('thawed', 'aborted'))),
	(SELECT string_agg(id::text, ',') FROM freeze_journal WHERE state NOT IN ('thawed', 'aborted')),
	(SELECT string_agg(CASE WHEN in_force THEN 'yes' ELSE coalesce(came_back, 'unknown') END, ',') FROM freeze_status),
	last.id, last.state, last.engaged_at IS NOT NULL, last.end_reason
FROM (SELECT true) one LEFT JOIN
	(SELECT * FROM freeze_journal WHERE target_kind = 'role' ORDER BY id DESC LIMIT 1) last ON true}), -1;
	return \%row;
}

# Polls until nobody has to finish anything (and nothing is live, if asked for).
sub recovered
{
	my ($node, $live_too) = @_;
	my $end = time + 60;
	my $journal;

	do
	{
		usleep(50_000) if $journal;
		$journal = journal($node);
	} while (($journal->{unfinished} ne '' || ($live_too && $journal->{live} ne '')) && time < $end);
	return $journal;
}

# Any call finishes what it finds; this one is about nothing else.
sub next_call
{
	my ($node, %opt) = @_;
	my $id = sql($node, q{SELECT freeze_schema('spare', strategy => 'revoke')}, %opt);

	sql($node, "SELECT thaw($id)", %opt);
	return;
}

# How many locks that stop anybody pg_freeze's processes hold or wait for,
# besides those on its own tables.
sub strong_locks
{
	my ($node, %opt) = @_;
	return sql($node, q{
SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE a.backend_type LIKE 'pg_freeze %' AND l.locktype IN ('relation', 'object')
	AND l.mode IN ('ShareLock', 'ExclusiveLock', 'AccessExclusiveLock')}, %opt);
}

# What becomes of a statement: "done", "waits" (for a lock, longer than a short
# freeze attempt keeps anybody waiting), or its SQLSTATE.
sub statement_goes
{
	my ($node, $statement, %opt) = @_;
	my ($state, undef, $err) = try_sql($node, "SET lock_timeout = '800ms'; $statement", %opt);

	return $state eq '' ? 'done' : $err =~ /canceling statement due to lock timeout/ ? 'waits' : $state;
}

sub writing
{
	my ($node, %opt) = @_;
	return statement_goes($node, 'INSERT INTO app.writes (who) VALUES (1)', user => 'app', %opt);
}

# Polls until the application writes again; false if it never does.
sub goes_on
{
	my ($node, %opt) = @_;
	my $end = time + $PostgreSQL::Test::Utils::timeout_default;

	while (time < $end)
	{
		return 1 if writing($node, %opt) eq 'done';
	}
	return 0;
}

# The files of relations and of what belongs to them, as pg_waldump names them.
sub files
{
	my ($node, $condition) = @_;
	return map { $_ => 1 } split /\n/, sql($node, qq{
WITH r AS (SELECT c.oid, c.reltoastrelid FROM pg_class c WHERE $condition)
SELECT (SELECT oid FROM pg_database WHERE datname = 'postgres') || '/' || pg_relation_filenode(c.oid)
FROM pg_class c
WHERE pg_relation_filenode(c.oid) IS NOT NULL AND (c.oid IN (SELECT oid FROM r) OR c.oid IN (SELECT reltoastrelid FROM r)
	OR c.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid IN (SELECT oid FROM r UNION SELECT reltoastrelid FROM r)))});
}

sub lsn { my ($high, $low) = split m{/}, $_[0]; return hex($high) * 2**32 + hex($low); }

# Looks at every commit in the WAL: how many were not pg_freeze's own, and those
# of them that are in a hold, which has id, frozen_lsn and thawed_lsn.  "all":
# every relation counts, not only those of the schema app.
sub commits_in_holds
{
	my ($node, $all, $from, @holds) = @_;
	my %own = files($node, q{c.oid IN (SELECT objid FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e')
		OR c.relname IN ('freeze_journal_id_seq')});
	my %app = files($node, q{c.relnamespace = 'app'::regnamespace});
	my $end = sql($node, 'SELECT pg_switch_wal(); SELECT pg_current_wal_flush_lsn()') =~ s/.*\n//r;
	my ($others, $last, @found, %wrote) = (0, 0);

	# by their names: else pg_waldump looks at any file there is, which may be one that nothing was written to yet
	my @files = split /\|/, sql($node, "SELECT pg_walfile_name('$from'::pg_lsn + 1), pg_walfile_name('$end'::pg_lsn - 1)");
	open my $wal, '-|', $node->installed_command('pg_waldump'), '-p', $node->data_dir . '/pg_wal', '-s', $from, '-e', $end, @files or die "pg_waldump: $!";
	while (my $line = <$wal>)
	{
		my ($xid, $lsn, $rest) = $line =~ m{tx:\s*(\d+), lsn: ([0-9A-F]+/[0-9A-F]+),(.*)} or next;
		$last = $lsn = lsn($lsn);
		if ($xid != 0)
		{
			$wrote{$xid}{"$1/$2"} = 1 while $rest =~ m{rel \d+/(\d+)/(\d+)}g;
		}
		next unless $rest =~ /desc: COMMIT/;
		my %rels = map { %{ delete($wrote{$_}) || {} } } $xid, $rest =~ /subxacts: ([\d ]+)/ ? split(/ /, $1) : ();
		my @strange = grep { $all ? !$own{$_} : $app{$_} } sort keys %rels;
		@strange = ('nothing that can be seen') if $all && !%rels;
		next unless @strange;
		$others++;
		foreach my $hold (@holds)
		{
			push @found, "freeze $hold->{id}, $hold->{frozen_lsn} to $hold->{thawed_lsn}: transaction $xid, which wrote @strange: $line"
			  if $lsn >= lsn($hold->{frozen_lsn}) && $lsn < lsn($hold->{thawed_lsn});
		}
	}
	close $wal;
	die 'pg_waldump did not get as far as the last thaw' if $last < lsn($holds[-1]{thawed_lsn});
	return ($others, @found);
}

# A socket on which a startup packet was sent.
sub start_login
{
	my ($node, $user, %parameters) = @_;
	my $socket = IO::Socket::UNIX->new(Peer => $node->host . '/.s.PGSQL.' . $node->port)
	  or die "no connection: $!";
	my $packet = pack('N', 196608) . join('', map { "$_\0" } 'user', $user, %parameters) . "\0";

	$socket->print(pack('N', 4 + length $packet) . $packet);
	$socket->flush;
	return $socket;
}

sub await_bytes
{
	my ($socket) = @_;

	IO::Select->new($socket)->can_read($PostgreSQL::Test::Utils::timeout_default)
	  or die 'timed out waiting for the server';
	return;
}

# The type and the content of the server's next message.
sub next_message
{
	my ($socket) = @_;
	my ($head, $body) = ('', '');

	while (length $head < 5)
	{
		await_bytes($socket);
		sysread($socket, $head, 5 - length $head, length $head) or die 'the server hung up';
	}
	my ($type, $length) = unpack('aN', $head);
	while (length $body < $length - 4)
	{
		await_bytes($socket);
		sysread($socket, $body, $length - 4 - length $body, length $body) or die 'the server hung up';
	}
	return ($type, $body);
}

# What a message that answers a login says: "in", a SQLSTATE, or its type.
sub login_result
{
	my ($type, $body) = @_;

	return 'in' if $type eq 'R' && $body eq pack('N', 0);
	return $type unless $type eq 'E';
	my %field = map { substr($_, 0, 1) => substr($_, 1) } grep { length } split /\0/, $body;
	return $field{C};
}

# (output, stderr) of a statement through a connection string.
sub connect_by
{
	my ($node, $connstr, $sql) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run([ $node->installed_command('psql'), '-XAtq', '-d', $connstr, '-c', $sql || 'SELECT current_user' ],
		'<', File::Spec->devnull, '>', \$out, '2>', \$err, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	chomp $out;
	return ($out, $err);
}

# A session of the administrator's that says nothing to the test's log; for ask().
sub open_dba
{
	my ($node, %opt) = @_;
	my %dba = (in => '', out => '', err => '');

	$dba{run} = IPC::Run::start(
		[ $node->installed_command('psql'), '-XAtq', '-v', 'VERBOSITY=verbose', '-d', $node->connstr($opt{db} || 'postgres'), psql_arguments(%opt) ],
		'<', \$dba{in}, '>', \$dba{out}, '2>', \$dba{err});
	ask(\%dba, 'SET client_min_messages = warning');
	$dba{in} .= "\\timing on\n";
	return \%dba;
}

# (answer, ms as psql measures them); dies on an error
sub ask
{
	my ($dba, $sql) = @_;
	my $end = time + 30;    # below pg_freeze.max_wait

	$dba->{out} = '';
	$dba->{in} .= "$sql;\n\\echo --\n";
	while ($dba->{out} !~ /^--$/m)
	{
		$dba->{run}->pump_nb;
		die "$sql: $dba->{err}" if $dba->{err} ne '' || time > $end;
		usleep(200) if $dba->{out} !~ /^--$/m;
	}
	my ($answer, $ms) = $dba->{out} =~ /^(.*?)\n?(?:Time: ([\d.]+) ms[^\n]*\n)?--$/s;
	return wantarray ? ($answer, $ms) : $answer;
}

sub log_size
{
	my ($node) = @_;
	return -s $node->logfile;
}

1;
