# A standby refuses every function and shows every view; after a promotion the
# freeze is live there, can be thawed, and keeps its deadline.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

foreach my $preload (0, 1)
{
	my $name = $preload ? 'preload' : 'plain';
	my $primary = new_server("${name}_primary", streaming => 1,
		conf => $preload ? "shared_preload_libraries = 'pg_freeze'\n" : '');
	make_application($primary, tables => 10);
	my $before = privileges($primary);

	$primary->backup('backup');
	my $standby = PostgreSQL::Test::Cluster->new("${name}_standby");
	$standby->init_from_backup($primary, 'backup', has_streaming => 1);
	$standby->start;

	my $id = sql($primary, q{SELECT freeze_role('app', strategy => 'revoke', label => 'cutover')});
	my $other = sql($primary, q{SELECT freeze_role('agent', strategy => 'revoke', thaw_after => '1 hour')});
	$primary->wait_for_catchup($standby);

	my $app = open_session($standby, user => 'app');
	$app->query_safe('SELECT 1;');
	is(sql($standby, q{SELECT rung, gone FROM freeze_drain(role => 'app', drain_timeout => '0')}), 'idle|t', "$name standby: freeze_drain() works");
	eval { $app->{run}->finish };
	foreach my $call (
		q{SELECT freeze_role('other', strategy => 'revoke')}, q{SELECT freeze_schema('app', strategy => 'revoke')},
		q{SELECT freeze_database(strategy => 'revoke')}, q{SELECT freeze_check('role', 'app', strategy => 'revoke')},
		"SELECT freeze_extend($id, '1 hour')", "SELECT * FROM thaw($id)", q{SELECT * FROM thaw_label('cutover')},
		q{SELECT * FROM thaw_role('app')}, q{SELECT * FROM thaw_schema('app')}, q{SELECT * FROM thaw_database()},
		q{SELECT * FROM thaw_cluster()}, q{SELECT * FROM thaw_all()})
	{
		my ($state, undef, $err) = try_sql($standby, $call);
		is($state, '55000', "$name standby: $call");
		like($err, qr/this server is a standby/, "$name standby: and says why") if $call =~ /thaw_all/;
	}
	is(sql($standby, 'SELECT id, target, state, in_force FROM freeze_status'), "$id|role app|frozen|t\n$other|role agent|frozen|t",
		"$name standby: freeze_status");
	foreach my $view (qw(freeze_history freeze_changes freeze_blockers freeze_sessions_signalled))
	{
		my ($state) = try_sql($standby, "SELECT count(*) FROM $view");
		is($state, '', "$name standby: $view can be read");
	}
	isnt(sql($standby, "SELECT count(*) FROM freeze_undo($id)"), '0', "$name standby: the way out can be read");
	same_privileges(privileges($standby), privileges($primary), "$name: the standby is as frozen as the primary");

	my $deadline = sql($primary, "SELECT freeze_extend($other, '4 s')");
	$primary->wait_for_catchup($standby);
	$primary->stop('immediate');
	$standby->promote;

	my ($state) = try_sql($standby, 'INSERT INTO app.t1 (id) VALUES (1)', user => 'app');
	is($state, '42501', "$name: the role is frozen after the promotion");
	is(sql($standby, "SELECT held IS DISTINCT FROM false, skipped FROM thaw($id)"), 't|0', "$name: and can be thawed there");
	# with preload by itself; without, from the first call on, which was this one
	wait_until($standby, "SELECT state = 'thawed' FROM freeze_journal WHERE id = $other");
	is(sql($standby, "SELECT thaw_at = '$deadline', thawed_at >= thaw_at, end_reason ~ '^thawed on schedule' FROM freeze_journal WHERE id = $other"),
		't|t|t', "$name: the deadline is kept");
	same_privileges(privileges($standby), $before, "$name: all privileges are back");
	$standby->stop;
}
done_testing();
