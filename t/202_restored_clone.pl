# Servers that are started from a snapshot taken while frozen, inside a backup:
# pg_freeze.on_restart says whether they thaw by themselves.  Then all privileges
# are what they were before the freeze, everybody gets in and writes, the backup
# that was copied along counts as failed, and another one can begin.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Restore;
use Test::More;

my $preloaded = "shared_preload_libraries = 'pg_freeze'\n";
my $source = new_server('source', streaming => 1, archiving => 1, initdb => ['--wal-segsize=1'], conf => "log_statement = none\n$preloaded");
make_application($source, tables => 10);
my $before = privileges($source);
my $columns = 'id, target, state, mode, strategy, thaw_at, label, reason, in_force';

# One that was copied while the backup ran: (the copy, freeze_status, the backup's
# id, and what freeze_backup_end() said)
sub snapshot
{
	my ($copy_how, $arguments) = @_;
	my $id = backup_begin($source, "'nightly', timeout => '1 hour', checkpoint => 'fast', reason => 'snapshot', $arguments");
	my $status = sql($source, "SELECT $columns FROM freeze_status");
	my $copy = $copy_how->($source);
	my $end = backup_end($source, $id);

	isnt($end->{held} // 'unknown', 0, "$arguments: it held") || diag($end->{lost_reason});
	same_privileges(privileges($source), $before, "$arguments: all privileges are back in the original");
	return ($copy, $status, $id, $end);
}

sub is_open
{
	my ($node, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	same_privileges(privileges($node), $before, "$what: all privileges are what they were before the freeze");
	is(join(' ', writing($node), map { statement_goes($node, 'INSERT INTO other.t1 (id) VALUES (1)', user => $_) } qw(agent other reader caller)),
		'done done done done done', "$what: everybody gets in and writes");
	return;
}

sub has_failed
{
	my ($node, $what, $id) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return is(sql($node, "SELECT state, failure IS NOT NULL, phase, keeper, to_end, to_abort FROM freeze_backup_status WHERE id = $id"), 'failed|t||||',
		"$what: the backup that was copied along has failed");
}

sub is_over
{
	my ($node, $what, $id) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($state, undef, $err) = try_sql($node, "SELECT * FROM freeze_backup_end($id)");

	has_failed($node, $what, $id);
	is($state, '55000', "$what: and can't be ended") || diag($err);
	like($err, qr/is not usable/, "$what: for it is not usable");
	my $new = backup_begin($node, q{'again', kind => NULL, checkpoint => 'fast'});
	like(backup_end($node, 'wait_for_archive => false')->{backup_label} // '', qr/^LABEL: again$/m, "$what: another one can be made");
	cmp_ok($new, '>', $id, "$what: with an id of its own");
	return;
}

# One that opens by itself: at start, or where it is not preloaded at the next call.
sub thaws
{
	my ($name, $snapshot, $preload, %opt) = @_;
	my ($copy, undef, $id) = @$snapshot;
	my $what = "$name, thaw";
	my $node = restore("${name}_thaw", $copy, %opt, conf => ($preload || "shared_preload_libraries = ''\n") . "pg_freeze.on_restart = thaw\n" . ($opt{conf} || ''));

	has_failed($node, "$what, just started", $id);
	next_call($node) unless $preload;
	wait_until($node, q{SELECT NOT EXISTS (SELECT FROM freeze_status)});
	like(sql($node, "SELECT end_reason FROM freeze_journal WHERE backup = $id"), qr/on_restart is thaw/, "$what: it has thawed by itself");
	is_open($node, $what);
	is_over($node, $what, $id);
	unlike(slurp_file($node->logfile), qr/PANIC|TRAP|XX000/, "$what: nothing strange is in the log");
	$node->stop('immediate');
	return;
}

# One that stays frozen until somebody thaws it.
sub keeps
{
	my ($name, $snapshot, $preload, $refused, %opt) = @_;
	my ($copy, $status, $id) = @$snapshot;
	my $what = "$name, keep";
	my $node = restore("${name}_keep", $copy, %opt, conf => ($preload || "shared_preload_libraries = ''\n") . "pg_freeze.on_restart = keep\n" . ($opt{conf} || ''));

	has_failed($node, "$what, just started", $id);
	# what comes after a start and must not thaw it
	next_call($node) unless $preload;
	wait_until($node, "SELECT state = 'failed' FROM freeze_backup WHERE id = $id");
	is(sql($node, "SELECT $columns FROM freeze_status"), $status, "$what: it is frozen as the original was");
	is(writing($node), $refused, "$what: the application does not write");
	is(statement_goes($node, 'INSERT INTO other.t1 (id) VALUES (1)', user => 'other'), 'done', "$what: others do");
	isnt(sql($node, 'SELECT held FROM thaw_all()'), 'f', "$what: it can be thawed, and held all the time");
	is_open($node, $what);
	is_over($node, $what, $id);
	unlike(slurp_file($node->logfile), qr/PANIC|TRAP|XX000/, "$what: nothing strange is in the log");
	$node->stop('immediate');
	return;
}

# --- gate -----------------------------------------------------------------------------

{
	my @snapshot = snapshot(\&copy_atomically, q{kind => 'role', target => 'app', strategy => 'gate'});

	thaws('gate', \@snapshot, $preloaded);
	keeps('gate', \@snapshot, $preloaded, 'waits');

	# where the clone does not preload it, no gate stops anybody
	my $node = restore('gate_without', $snapshot[0], conf => "shared_preload_libraries = ''\n");
	is_open($node, 'gate, not preloaded in the clone');
	next_call($node);
	is(sql($node, 'SELECT state, in_force FROM freeze_status'), 'lost|f', 'gate, not preloaded in the clone: the freeze is lost');
	is(sql($node, 'SELECT held FROM thaw_all()'), 'f', 'gate, not preloaded in the clone: and can be put away');
	is_over($node, 'gate, not preloaded in the clone', $snapshot[2]);
	$node->stop('immediate');
}

# --- revoke ---------------------------------------------------------------------------

{
	my @snapshot = snapshot(\&copy_atomically, q{kind => 'role', target => 'app', strategy => 'revoke'});

	thaws('revoke', \@snapshot, $preloaded);
	keeps('revoke', \@snapshot, $preloaded, '42501');
}

# --- restored with the label ----------------------------------------------------------

# What was revoked is in the catalogs, so it goes along; a gate is lost in the
# promotion that ends the recovery, or kept where pg_freeze.on_promote says so.
foreach my $strategy (qw(revoke gate))
{
	my @snapshot = snapshot(\&copy_files, "kind => 'role', target => 'app', strategy => '$strategy'");
	my $end = $snapshot[3];
	my $conf = "recovery_target = 'immediate'\nrecovery_target_action = 'promote'\n";
	my %restore = (label => $end->{backup_label}, map => $end->{tablespace_map}, archive => $source->archive_dir);

	thaws("${strategy}_label", \@snapshot, $preloaded, %restore, conf => $conf) if $strategy eq 'gate';
	keeps("${strategy}_label", \@snapshot, $preloaded, $strategy eq 'gate' ? 'waits' : '42501', %restore, conf => "${conf}pg_freeze.on_promote = keep\n");
}

# --- not preloaded --------------------------------------------------------------------

$source->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$source->restart;
{
	my @snapshot = snapshot(\&copy_atomically, q{kind => 'role', target => 'app', strategy => 'revoke'});

	thaws('without', \@snapshot, '');
	keeps('without', \@snapshot, '', '42501');
}

unlike(slurp_file($source->logfile), qr/PANIC|TRAP|XX000/, 'nothing strange is in the log');
done_testing();
