# ^C, time-outs and terminates, of the caller and of the worker, while a freeze
# is being made: it is undone.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main');
make_application($node, tables => 20);
my $before = privileges($node);

# A transaction of the role that has written: a drain waits for it.
my $writer = open_session($node, user => 'app');
sub writer_begins { $writer->query_safe(q{BEGIN; INSERT INTO app.writes (who) VALUES (0);}); return; }
sub writer_ends { $writer->query_safe('ROLLBACK;'); return; }

my $draining = q{SELECT EXISTS (SELECT FROM freeze_journal WHERE state = 'draining')};

# Something holds a table's tuple lock so that engaging waits: the transaction
# in which a GRANT on one of the role's tables has not been committed.
my $granter = open_session($node);
sub granter_begins { $granter->query_safe('BEGIN; GRANT DELETE ON app.t7 TO reader;'); return; }
sub granter_ends { $granter->query_safe('ROLLBACK;'); return; }

my $engaging = q{SELECT EXISTS (SELECT FROM freeze_journal WHERE state = 'engaging')};

sub end_is
{
	my ($what, $expected) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is(unfinished($node), '', "$what: nothing is unfinished");
	is(join(',', live($node)), '', "$what: nothing is frozen");
	is(sql($node, 'SELECT state FROM freeze_history ORDER BY id DESC LIMIT 1'), 'aborted', "$what: history says aborted");
	like(sql($node, 'SELECT end_reason FROM freeze_history ORDER BY id DESC LIMIT 1'), $expected, "$what: and why");
	same_privileges(privileges($node), $before, "$what: all privileges are back");
	return;
}

# phase, how to block it, how to let go, what to wait for
my @phases = (
	[ 'draining', \&writer_begins, \&writer_ends, $draining ],
	[ 'engaging', \&granter_begins, \&granter_ends, $engaging ]);

foreach my $phase (@phases)
{
	my ($name, $block, $let_go, $reached) = @$phase;
	my $freeze = q{SELECT freeze_role('app', strategy => 'revoke', drain_timeout => '1 hour');};

	$block->();
	my $call = start_sql($node, $freeze, user => 'caller');
	wait_until($node, $reached);
	sql($node, q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = 'caller'});
	my ($state, undef, $err) = finish_sql($call);
	is($state, '57014', "$name: a cancel ends the call");
	like($err, qr/canceling statement due to user request/, "$name: with the usual words");
	# before the blocker has ended: undoing waits for nobody
	end_is("$name, cancel", qr/^not frozen: /) if $name eq 'draining';
	$let_go->();
	end_is("$name, cancel, later", qr/^not frozen: /);

	$block->();
	($state, undef, $err) = try_sql($node, "SET statement_timeout = '500ms'; $freeze");
	is($state, '57014', "$name: statement_timeout ends the call");
	like($err, qr/canceling statement due to statement timeout/, "$name: with the usual words");
	$let_go->();
	end_is("$name, statement_timeout", qr/^not frozen: /);

	$block->();
	$call = start_sql($node, $freeze, user => 'caller');
	wait_until($node, $reached);
	sql($node, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'caller'});
	($state) = finish_sql($call);
	is($state, '57P01', "$name: a terminate ends the caller");
	wait_until($node, q{SELECT NOT EXISTS (SELECT FROM freeze_journal WHERE state IN ('engaging', 'draining'))});
	$let_go->();
	end_is("$name, terminate", qr/^not frozen: /);

	# Nobody would learn of the freeze.
	$block->();
	$call = start_sql($node, $freeze, user => 'caller');
	wait_until($node, $reached);
	$call->{harness}->signal('KILL');
	wait_until($node, q{SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE usename = 'caller')});
	wait_until($node, q{SELECT NOT EXISTS (SELECT FROM freeze_journal WHERE state IN ('engaging', 'draining'))});
	eval { $call->{harness}->finish };
	$let_go->();
	end_is("$name, client killed", qr/^not frozen: /);

	# The worker takes a SIGTERM, as of a shutdown, for a cancel.
	$block->();
	$call = start_sql($node, $freeze, user => 'caller');
	wait_until($node, $reached);
	sql($node, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pg_freeze worker'});
	($state, undef, $err) = finish_sql($call);
	is($state, '57P01', "$name: a terminate of the worker fails the call");
	like($err, qr/the worker was terminated before it was done/, "$name: and says why");
	end_is("$name, worker terminated", qr/^not frozen: /) if $name eq 'draining';
	$let_go->();
	end_is("$name, worker terminated, later", qr/^not frozen: /);
}

# While engaging is tried again and again, other calls leave that freeze alone.
granter_begins();
my $call = start_sql($node, q{SELECT freeze_role('app', strategy => 'revoke', drain_timeout => '1 hour');}, user => 'caller');
wait_until($node, $engaging);
foreach (1 .. 3)
{
	my $id = sql($node, q{SELECT freeze_role('agent', strategy => 'revoke')});
	sql($node, "SELECT thaw($id)");
}
is(sql($node, q{SELECT target, state FROM freeze_status}), 'role app|engaging', 'a freeze that is being made is left alone');
granter_ends();
my ($called, $frozen) = finish_sql($call);
is($called, '', 'and can be completed');
sql($node, "SELECT thaw($frozen)");
same_privileges(privileges($node), $before, 'all privileges are back');

my ($state, $out, $err) = try_sql($node, q{SELECT freeze_role('app', strategy => 'revoke');});
is($state, '', 'freezing works after all that');
like($err, qr/NOTICE:.*is frozen in mode write as freeze $out/, 'and the notice has the id');
sql($node, "SELECT thaw($out)");
same_privileges(privileges($node), $before, 'and so does thawing');

$writer->quit;
$granter->quit;
done_testing();
