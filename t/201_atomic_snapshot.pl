# A snapshot that is atomic over all volumes needs no backup mode: everything is
# copied while no process of the server moves, and started as after a crash.  It
# has exactly what was frozen, with the last checkpoint just made or long ago, and
# though the application's commits don't wait for the disk.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Restore;
use Test::More;

my $source = new_source('source', conf => "shared_preload_libraries = 'pg_freeze'\nwal_writer_delay = '10s'\nwal_writer_flush_after = '1GB'\n");

sql($source, 'ALTER ROLE app SET synchronous_commit = off');
start_load($source);

# what => checkpoint, what is frozen, and the databases where that can be compared
sub snapshot
{
	my ($what, $checkpoint, $arguments, @databases) = @_;
	my $redo = 'SELECT redo_lsn FROM pg_control_checkpoint()';
	my $before = sql($source, $redo);

	my $id = backup_begin($source, "'$what', backup_mode => false, checkpoint => '$checkpoint', timeout => '5 minutes', $arguments");
	if ($checkpoint eq 'none')
	{
		is(sql($source, $redo), $before, "$what: no checkpoint was made");
	}
	else
	{
		isnt(sql($source, $redo), $before, "$what: a checkpoint was made");
	}
	my $copy = copy_atomically($source);
	my $frozen = content($source, @databases);
	my $end = backup_end($source, $id);
	is($end->{held} ? 't' : 'f', 't', "$what: it held") || diag($end->{lost_reason}, $end->{evidence});
	is(join(' ', map { $end->{$_} // 'none' } qw(backup_label tablespace_map)), 'none none', "$what: there is no label");
	load_goes_on($source);

	my $node = restore($what =~ s/\W+/_/gr, $copy);
	like(slurp_file($node->logfile), qr/database system was not properly shut down/, "$what: started as after a crash");
	same_content(content($node, @databases), $frozen, "$what: exactly what was frozen");
	rows_match($node, $what);
	is(files_match($node, $copy), '', "$what: the files outside and the rows go together") if @databases != 1;
	return ($node, $copy);
}

# In a snapshot by gate the gate is closed: nothing was promoted.
foreach my $checkpoint (qw(fast none))
{
	my $what = "gate $checkpoint";
	my ($node) = snapshot($what, $checkpoint, q{kind => 'cluster', strategy => 'gate', reason => 'snapshot'});

	is(statement_goes($node, q{INSERT INTO app.events (client, note) VALUES (0, 'later')}, user => 'app'), 'waits', "$what: it is frozen as the original was");
	sql($node, 'SELECT thaw_all()');
	is(statement_goes($node, q{INSERT INTO app.events (client, note) VALUES (0, 'later')}, user => 'app'), 'done', "$what: and can be thawed");
	sound($node, $what);
}

stop_load($source);
$source->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$source->restart;
start_load($source);
{
	my ($node) = snapshot('lock', 'fast', q{strategy => 'lock'}, 'postgres');
	sound($node, 'lock');
}
stop_load($source);

unlike(slurp_file($source->logfile), qr/PANIC|TRAP|XX000/, 'nothing strange is in the log');
done_testing();
