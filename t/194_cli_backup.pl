# The program pg_freeze: backups that one process begins and another one ends,
# their files, and their exit statuses.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use CliTest;
use PgFreezeTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main', streaming => 1, conf => "shared_preload_libraries = 'pg_freeze'\n");
my $tablespace = PostgreSQL::Test::Utils::tempdir_short();
my $files = PostgreSQL::Test::Utils::tempdir();
my $on_server = PostgreSQL::Test::Utils::tempdir();
my ($status, $out, $err);

# begin with a fast checkpoint; returns the id
sub begin
{
	my ($label, @options) = @_;
	my ($status, $out, $err) = cli($node, 'backup-begin', "--label=$label", '--checkpoint=fast', @options);

	die "backup-begin @options: $err" if $status != 0;
	return $out;
}

# "status: what it says of held", of backup-end
sub end
{
	my ($status, $out) = cli($node, 'backup-end', @_);
	return "$status: " . ($out =~ /^    held: (.*)$/m ? $1 : '');
}

sub file { return -e "$files/$_[0]" ? slurp_file("$files/$_[0]") : undef; }

make_application($node);
sql($node, qq{CREATE TABLESPACE tbs LOCATION '$tablespace'});
sql($node, 'CREATE TABLE app.elsewhere (id int) TABLESPACE tbs');

foreach ([], [ '--label=' ], [ '--label=x', '1' ], [ '--label=x', '--checkpoint=none' ], [ '--label=x', '--timeout=0' ],
	[ '--label=x', '--no-backup-mode', '--label-directory=/x' ], [ '--label=x', '--role=app', '--no-freeze' ])
{
	is((cli($node, 'backup-begin', @$_))[0], 2, "wrong usage: backup-begin @$_");
}
foreach my $command (qw(backup-end backup-abort backup-status))
{
	is((cli($node, $command, @$_))[0], 2, "wrong usage: $command @$_") foreach ([ 1, 2 ], ['x'], [ 1, '--label=x' ], ['--label=']);
}
is((cli($node, 'backup-status'))[1], 'no backup', 'no backup');
is((cli($node, 'backup-end'))[0], 1, 'there is none that could be ended');

# --- two processes, and nothing between them but a label --------------------

($status, $out, $err) = cli($node, 'backup-begin', '--label=night', '--checkpoint=fast', '--reason=nightly');
is($status, 0, 'a backup begins');
my $id = $out;
like($id, qr/^\d+$/, '... its id is all that it prints');
like($err, qr/^pg_freeze: NOTICE: backup $id \(night\) is running; /m, '... a notice says more');
is(writing($node, user => 'app'), 'waits', '... the database is frozen');
like((cli($node, 'status'))[1], qr/^ $id\s+\| night \| waiting for freeze_backup_end \|.*\n(?:.*\n)*?backup $id by \S+ \(.*\): nightly$/m, '... status has it');
like((cli($node, 'backup-status'))[1], qr/^ $id\s+\| night \| running \|.*\n(?:.*\n)*?    to end: SELECT \* FROM public\.freeze_backup_end\($id\);$/m, '... backup-status too');
is(from_json((cli($node, 'status', '--json'))[1])->{backups}[0]{label}, 'night', '... and JSON');
($status, $out, $err) = cli($node, 'backup-begin', '--label=other');
is($status, 1, 'there can be one at a time');
like($err, qr/^pg_freeze: ERROR: backup $id \(night\) runs already\npg_freeze: DETAIL: .*\npg_freeze: HINT: /, '... and it says which');

append_to_file("$files/backup_label", 'of an earlier backup');
is(end('--label=night', "--output=$files"), '0: yes', 'another process ends it by its label');
is(writing($node, user => 'app'), 'done', '... the database goes on');
like(file('backup_label'), qr/^START WAL LOCATION: .*^LABEL: night$/ms, '... its backup_label is written');
is(file('backup_label'), sql($node, "SELECT backup_label FROM freeze_backup_status WHERE id = $id"), '... as the server has it');
like(file('tablespace_map'), qr/^\d+ \Q$tablespace\E$/, '... its tablespace_map, too');
is(join(' ', sort map { m{([^/]+)$} } glob "$files/*"), 'backup_label tablespace_map', '... and nothing else');
is(end($id), '0: yes', 'it can be ended again, by its id');
is(end(), '0: yes', '... and as the last one');
my $json = from_json((cli($node, 'backup-end', '--json'))[1]);
is_deeply([ @{$json}{qw(id label held state)}, $json->{backup_label} ], [ $id, 'night', JSON::PP::true, 'complete', file('backup_label') ], '... and as JSON');
like((cli($node, 'backup-status', $id))[1], qr/^state +\| complete$/m, 'backup-status of one');
is((cli($node, 'backup-status', 99))[2], "pg_freeze: there is no backup 99\n", '... and of one that there is not');

# --- files -------------------------------------------------------------------

sql($node, 'DROP TABLE app.elsewhere');
sql($node, 'DROP TABLESPACE tbs');
$id = begin('two', '--no-freeze', "--label-directory=$on_server", '--hold-wal');
is(writing($node, user => 'app'), 'done', 'a backup without a freeze: everything goes on');
is(sql($node, q{SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'pg\_freeze\_backup%'}), 1, '... and its WAL is held');
($status, $out, $err) = cli($node, 'backup-end', "--output=$files/nowhere");
is($status, 1, 'files that can not be written are an error');
like($err, qr{^pg_freeze: could not (?:write|remove) file "$files/nowhere/.*: No such file or directory\npg_freeze: HINT: backup $id has ended; .*backup-end $id --output=}, '... that says how to get them');
is(end($id, "--output=$files"), '0: nothing was frozen', '... which is true');
like(file('backup_label'), qr/^LABEL: two$/m, '... the backup_label is the new one');
is(file('tablespace_map'), undef, '... and a tablespace_map of an earlier one is gone');
is(slurp_file("$on_server/backup_label"), file('backup_label'), '... on the server there is one, too');

$id = begin('three', '--no-backup-mode', '--role=app');
is(writing($node), 'waits', 'a freeze without the backup mode');
($status, $out, $err) = cli($node, 'backup-end', "--output=$files");
is($status, 0, '... ends');
like($err, qr/backup $id was made without the backup mode and has no backup_label/, '... and has no files');
like(file('backup_label'), qr/^LABEL: two$/m, '... that would replace others');

{
	sql($node, q{CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0});
	sql($node, 'CREATE EXTENSION pg_freeze', db => 'latin');
	my %there = (db => 'latin', env => { PGCLIENTENCODING => 'UTF8' });

	($status, $out, $err) = cli($node, \%there, 'backup-begin', "--label=n\xc3\xa4chtlich", '--checkpoint=fast', '--no-freeze');
	is($status, 0, 'a label that is no ASCII');
	($status, $out, $err) = cli($node, \%there, 'backup-end', "--label=n\xc3\xa4chtlich", "--output=$files");
	is($status, 0, '... ends it');
	like(file('backup_label'), qr/^LABEL: n\xe4chtlich$/m, '... its file is as the server writes it, whatever the client encoding');
}

# --- verdicts ------------------------------------------------------------------

begin('broken', '--role=app', '--strategy=revoke');
sql($node, 'GRANT INSERT ON app.t1 TO app');
is(end(), '3: NO', 'a freeze that did not hold');
is(end(), '3: NO', '... asked again');
begin('leaky', '--role=app', '--strategy=revoke');
is(end('--no-wait'), '4: unknown', 'it is unknown whether a freeze with a leak held');
is(end('--accept-unknown'), '0: unknown', '... and that can be accepted');

$id = begin('late', '--timeout=200ms');
wait_until($node, "SELECT state = 'failed' FROM freeze_backup_status WHERE id = $id");
($status, $out, $err) = cli($node, 'backup-end', '--label=late');
is($status, 3, 'a late end');
like($err, qr/^pg_freeze: ERROR: backup $id \(late\) is not usable\n/, '... is told so');
is(writing($node, user => 'app'), 'done', '... and the application went on');

$id = begin('nightly');
($status, $out, $err) = cli($node, 'backup-abort', '--label=nightly', '--reason=no room');
is("$status$err", "0pg_freeze: backup $id is given up; what was copied is not to be used\n", 'a backup is given up');
is(writing($node, user => 'app'), 'done', '... and the application goes on');
is((cli($node, 'backup-end', $id))[0], 3, '... and its end does not succeed');
like((cli($node, 'backup-status'))[1], qr/^backup $id failed: .*no room/m, '... and backup-status says why');
is((cli($node, 'backup-end', '--label=unknown'))[0], 1, 'a label that there is not');

my $writer = open_session($node, user => 'app');
$writer->query_safe('BEGIN; INSERT INTO app.t1 VALUES (1)');
($status, $out, $err) = cli($node, 'backup-begin', '--label=drained', '--checkpoint=fast', '--in-flight=drain', '--drain-timeout=100ms');
is("$status$out", '6', 'a drain that times out');
is(sql($node, q{SELECT count(*) FROM freeze_backup_status WHERE state = 'running'}), 0, '... and no backup runs');
$writer->query_safe('COMMIT');

# --- while it begins: what it waits for, and a signal ---------------------------

sql($node, q{ALTER SYSTEM SET checkpoint_completion_target = 0.9});
$node->reload;
sql($node, 'INSERT INTO other.t1 SELECT generate_series(1, 100000)');
my $slow = start_cli($node, 'backup-begin', '-v', '--label=slow');
ok(polled(sub { slurp_file($slow->{err}) =~ /^pg_freeze: waiting for the checkpoint/m }), 'it says that it waits for the checkpoint');
like((cli($node, 'backup-status'))[1], qr/^backup \d+: checkpoint, /m, '... and so does backup-status');
is(writing($node, user => 'app'), 'done', '... while nothing is frozen yet');
kill 'TERM', $slow->{pid};
($status, $out, $err) = finish_cli($slow);
is("$status$out", '1', '... a signal ends it, and there is no id');
wait_until($node, q{SELECT count(*) = 0 FROM freeze_backup_status WHERE state = 'running'});
is(sql($node, 'SELECT count(*) FROM freeze_status'), 0, '... and no backup, nor anything frozen');

# --- without a reader of the id --------------------------------------------------

if (-c '/dev/full')
{
	is((cli($node, { stdout => '/dev/full' }, 'backup-begin', '--label=unheard', '--checkpoint=fast'))[0], 1, 'an id that can not be told');
	is(sql($node, q{SELECT count(*) FROM freeze_backup_status WHERE state = 'running'}), 0, '... leaves no backup');
}

# --- an archive that takes its time ------------------------------------------------

append_to_file("$on_server/closed", '');
$node->append_conf('postgresql.conf', "archive_mode = on\narchive_command = 'test ! -e $on_server/closed'\n");
$node->restart;
$id = begin('archived', '--no-freeze');
like((cli($node, 'backup-end', $id, '--no-wait'))[1], qr/^backup $id, label archived: done$/m, 'without the archive a backup is done');
my $waits = start_cli($node, 'backup-end', $id, '-v', "--output=$files");
ok(polled(sub { slurp_file($waits->{err}) =~ /^pg_freeze: waiting until the WAL of the backup is archived/m }), '... that it waits for it is said');
kill 'INT', $waits->{pid};
($status, $out, $err) = finish_cli($waits);
is("$status$out", '4', '... and can be interrupted');
like($err, qr/^pg_freeze: HINT: backup-end may be repeated/m, '... and repeated');
unlink "$on_server/closed";
$node->reload;
like((cli($node, 'backup-end', $id))[1], qr/^backup $id, label archived: complete$/m, 'with it the backup is complete');

# --- a standby -------------------------------------------------------------------

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);

($status, $out, $err) = cli($standby, 'backup-begin', '--label=there', '--checkpoint=fast');
is("$status$out", '5', 'on a standby nothing can be frozen');
like($err, qr/^pg_freeze: this server is a standby, .*\npg_freeze: HINT: /, '... and it says what to do');
($status, $id, $err) = cli($standby, 'backup-begin', '--label=there', '--checkpoint=fast', '--no-freeze');
is($status, 0, '... but a backup can be made');
like((cli($standby, 'backup-status'))[1], qr/^ $id +\| there +\| running /m, '... it is seen');
foreach (1, 2)
{
	unlink "$files/backup_label";
	($status, $out, $err) = cli($standby, 'backup-end', '--label=there', "--output=$files", '--no-wait');
	is("$status$err", '0', "... ended ($_)");
	like(file('backup_label'), qr/^BACKUP FROM: standby$/m, '... and its file is there');
}

done_testing();
