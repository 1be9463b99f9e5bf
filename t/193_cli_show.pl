# The program pg_freeze: help and its man page, what goes wrong before anything is
# done, and the commands that look: status, check, sessions.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use CliTest;
use IPC::Run ();
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main', conf => "shared_preload_libraries = 'pg_freeze'\n");
my ($status, $out, $err);

# --- help and the man page -------------------------------------------------

($status, $out, $err) = cli(undef, '--help');
is($status, 0, 'there is help');
my @commands = $out =~ /^  ([a-z-]+) {2,}\S/mg;
cmp_ok(scalar @commands, '>=', 12, 'it names the commands');

my $page = "$FindBin::RealBin/../doc/pg_freeze.1";
if (eval { IPC::Run::run([ 'man', '--warnings', '-l', $page ], '<', \undef, '>', \$out, '2>', \$err) })
{
	is($err, '', 'man has no complaint about the man page');
	like($out, qr/^EXIT STATUS$/m, '... and shows it');
}
else
{
	diag('NOT RUN: what man says of the man page (no man here)');
}
my $man = slurp_file($page) =~ s/\\-/-/gr =~ s/\\f.//gr;
my %documented = map { $_ => 1 } $man =~ /(--[a-z][a-z-]*)/g;
my %exists = ('--version' => 1, '--help' => 1);

foreach my $command (@commands)
{
	($status, $out, $err) = cli(undef, $command, '--help');
	is("$status$err", '0', "$command: there is help");
	like($out, qr/^pg_freeze $command: \S.*\n\nUsage:\n  pg_freeze $command /, "$command: it begins with what it does");
	unlike($out, qr/^.{91}/m, "$command: its lines are short");
	like($man, qr/^[.]BR? (?:pg_freeze )?"?$command\b/m, "$command: the man page has it");
	$exists{$_} = 1 foreach ($out =~ /(--[a-z][a-z-]*)/g);

	($status, $out, $err) = cli(undef, $command, '--no-such-option');
	is($status, 2, "$command: a wrong option is wrong usage");
	like($err, qr/^pg_freeze: try "pg_freeze $command --help"$/m, "$command: and it says where help is");
}
is(join(' ', grep { !$documented{$_} } sort keys %exists), '', 'every option is in the man page');
# those of other programs stand in its examples
is(join(' ', grep { !$exists{$_} && !/^--(?:snapshot|name|size)$/ } sort keys %documented), '', 'and the man page has no other');

my %variables = map { $_ => 1 } slurp_file("$FindBin::RealBin/../cli/child.c") =~ /"(PGFREEZE_\w+)"/g;
my %explained = map { $_ => 1 } $man =~ /(PGFREEZE_\w+)/g;
is(join(' ', sort keys %explained), join(' ', sort keys %variables), 'and so is all that COMMAND is told');

like((cli(undef, '--version'))[1], qr/^pg_freeze \d+\.\d+/, 'it knows its version');
foreach (['nonsense'], ['--json'], [ 'status', '5' ], [ 'sessions', 'x' ], [ 'sessions', 1, 2 ], [ 'check', 'app' ],
	[ 'check', '--mode=some' ], [ 'check', '--role=a', '--cluster' ], [ 'check', '--role=' ], [ 'check', '--drain-timeout=soon' ])
{
	($status, $out, $err) = cli(undef, @$_);
	is($status, 2, "wrong usage: @$_");
	like($err, qr/^pg_freeze: \S.*\npg_freeze: try "pg_freeze .*--help"$/m, '... with a message');
	is($out, '', '... and nothing on standard output');
}

# --- no server, no database, no extension, no privilege ---------------------

($status, $out, $err) = cli(undef, { connect => 'port=1 host=' . $node->host }, 'status');
is($status, 1, 'no server is an error');
like($err, qr/^pg_freeze: .*\.s\.PGSQL\.1"? failed: No such file or directory\n.*Is the server running/, '... of the connection');
like((cli(undef, { connect => $node->connstr('nowhere') }, 'status'))[2], qr/^pg_freeze: .*database "nowhere" does not exist$/, 'neither is there such a database');
($status, $out, $err) = cli($node, 'status');
is($status, 1, 'no extension is an error');
is($err, qq{pg_freeze: the database "postgres" has no extension pg_freeze\n}
	  . qq{pg_freeze: HINT: connect to the one that has it, or run CREATE EXTENSION pg_freeze there\n}, '... that says what to do');

# names that have to be quoted, and ones that are in the way
sql($node, q{CREATE SCHEMA "My Extension"; CREATE EXTENSION pg_freeze SCHEMA "My Extension"});
sql($node, q{
CREATE SCHEMA trap;
CREATE FUNCTION trap.nothing(anyelement, anyelement) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
CREATE FUNCTION trap.to_char(timestamptz, text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
CREATE FUNCTION trap.concat(VARIADIC text[]) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
CREATE OPERATOR trap.= (LEFTARG = anyelement, RIGHTARG = anyelement, FUNCTION = trap.nothing);
CREATE DATABASE second;
});
sql($node, q{ALTER DATABASE postgres SET search_path = trap, pg_catalog, "My Extension"});
my $schema = q{"My Extension"};
like((try_sql($node, q{SELECT to_char(now(), 'YYYY')}))[2], qr/trapped/, 'other names come first in the search_path');
sql($node, qq{SET search_path = pg_catalog;
CREATE SCHEMA app;
CREATE ROLE app LOGIN; CREATE ROLE joe LOGIN; GRANT ALL ON SCHEMA app TO app;
GRANT USAGE ON SCHEMA $schema TO PUBLIC;
CREATE TABLE app.t (id int); GRANT ALL ON app.t TO app;
SELECT format('CREATE TABLE app.t%s (id int); GRANT ALL ON app.t%1\$s TO app', i) FROM generate_series(1, 30) i
\\gexec
});
sql($node, 'CREATE EXTENSION pg_freeze', db => 'second');

($status, $out, $err) = cli($node, { user => 'joe' }, 'check', '--role=app');
is($status, 1, 'a missing privilege is an error');
like($err, qr/^pg_freeze: ERROR: permission denied for function freeze_check\npg_freeze: HINT: connect as a superuser, or have one grant it to "joe"$/,
	'... that says what to do');
($status, $out, $err) = cli($node, 'check', '--role=nosuch');
is("$status$err", qq{1pg_freeze: ERROR: role "nosuch" does not exist\n}, 'no such role');

# --- status -----------------------------------------------------------------

($status, $out, $err) = cli($node, 'status');
is("$status$err", '0', 'status with nothing frozen');
like($out, qr/^nothing is frozen, as of \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+$/, '... says so');
my $json = from_json((cli($node, 'status', '--json'))[1]);
is_deeply([ $json->{freezes}, $json->{backups}, $json->{database} ], [ [], [], 'postgres' ], '... in JSON too');

my $first = sql($node, qq{SELECT $schema.freeze_role('app', thaw_after => '1 hour', reason => 'nightly snapshot', label => 'night')});
my $second = sql($node, qq{SELECT freeze_database('second', mode => 'all')}, db => 'second');
my $waiter = start_sql($node, 'INSERT INTO app.t VALUES (1)', user => 'app');
wait_until($node, qq{SELECT count(*) OPERATOR(pg_catalog.=) 1 FROM $schema.freeze_waiters});

($status, $out, $err) = cli($node, 'status');
is("$status$err", '0', 'status of two freezes');
like($out, qr/^ $first \s+\| role app \s+\| frozen \| yes\s+\| gate \s+\| \d\d:\d\d:\d\d \| [-: \d]+? \| +1$/m, '... the one of this database');
like($out, qr/^ $second in second \| database second \| frozen \| yes\s+\| gate, all \| [-: \d]+? \| none +\| +0$/m, '... and that of another one');
like($out, qr/^freeze $first by \S+ \([^)]+\): nightly snapshot; label night$/m, '... who and why');
like($out, qr/^    to thaw: SELECT \* FROM \Q$schema\E\.thaw\($first\);$/m, '... how to thaw it');
like($out, qr/^    to thaw: SELECT \* FROM \Q$schema\E\.thaw\($second, home => 'second'\);$/m, '... from here');
like((cli($node, { user => 'joe' }, 'status'))[1], qr/^ $first \s+\| role app /m, 'everybody may look');

$json = from_json((cli($node, 'status', '--json'))[1]);
is(scalar @{ $json->{freezes} }, 2, 'both are in the JSON');
is(join(' ', sort keys %{ $json->{freezes}[0] }),
	sql($node, qq{SELECT string_agg(attname::text, ' ' ORDER BY attname COLLATE "C") FROM pg_attribute WHERE attrelid OPERATOR(pg_catalog.=) '$schema.freeze_status'::regclass AND attnum OPERATOR(pg_catalog.>) 0}),
	'... with all columns of the view');
is_deeply([ @{ $json->{freezes}[0] }{qw(id target reason waiters in_force)} ], [ $first, 'role app', 'nightly snapshot', 1, JSON::PP::true ], '... and their values');

# a terminal
if (defined($out = cli_on_terminal($node, 100, 'status')))
{
	like($out, qr/^ $first \s+\| role app /m, 'on a terminal of 100 columns it is a table');
	unlike((split /\nfreeze/, $out)[0], qr/^.{101}/m, '... that fits');
	$out = cli_on_terminal($node, 70, 'status');
	like($out, qr/^target\s+\| role app\s*$/m, 'on one of 70 columns it has a value per line');
}
else
{
	diag('NOT RUN: what status looks like on a terminal (no pseudo-terminal here)');
}
like((cli($node, 'status', '-x'))[1], qr/^target\s+\| role app$/m, '... and if asked to');

# --- sessions ---------------------------------------------------------------

my $reader = open_session($node, user => 'app');
$reader->query_safe('BEGIN; SELECT count(*) FROM app.t');
my $pid = $reader->query_safe('SELECT pg_backend_pid()');
my $waiting = sql($node, qq{SELECT pid FROM $schema.freeze_waiters});

($status, $out, $err) = cli($node, 'sessions', $first);
is("$status$err", '0', 'sessions of a freeze');
like($out, qr/^\s+$first \| +$pid \| app +\| \S+ +\| idle in transaction \| \d\d:\d\d:\d\d \|/m, '... one in a transaction');
like($out, qr/waiting for a thaw\n.*\n.*\n\s+$first \| +$waiting \| app /, '... and who waits');
$json = from_json((cli($node, 'sessions', '--json'))[1]);
is(join(' ', sort keys %$json), 'blockers sessions signalled waiters', 'as JSON');
is(join(' ', map { $_->{pid} } @{ $json->{waiters} }), $waiting, '... who waits');
ok((grep { $_->{pid} == $pid } @{ $json->{sessions} }), '... and the others');
is((cli($node, 'sessions', 77))[2], "pg_freeze: no freeze 77 is live; pg_freeze status lists those that are\n", 'no such freeze');
is((cli($node, 'sessions', 77))[0], 1, '... is an error');
sql($node, q{SELECT id FROM thaw_all()}, db => 'second');
sql($node, q{SELECT thaw(freeze_database()), freeze_database()}, db => 'second');
like((cli($node, 'sessions', sql($node, q{SELECT max(id) FROM freeze_status}, db => 'second')))[2],
	qr/^pg_freeze: freeze \d+ was made in database "second": connect there$/, 'one of another database');
sql($node, qq{SELECT id FROM $schema.thaw_all()});
is((finish_sql($waiter))[0], '', 'who waited goes on');
$reader->query_safe('COMMIT');

# who is in the way of a freeze that is being made
$reader->query_safe('BEGIN; INSERT INTO app.t VALUES (2)');
my $maker = start_sql($node, qq{SELECT $schema.freeze_role('app', strategy => 'revoke', drain_timeout => '1 min')});
wait_until($node, qq{SELECT count(*) OPERATOR(pg_catalog.=) 1 FROM $schema.freeze_blockers});
like((cli($node, 'sessions'))[1], qr/in the way of a freeze that is being made\n.*\n.*\n\s+\d+ \| $pid +\| app /, 'who is in the way');
like((cli($node, 'status'))[1], qr/\| draining +\|.*\n.*\n +to thaw: SELECT pg_cancel_backend\(\d+\);$/m, 'and how to give it up');
$reader->query_safe('COMMIT');
is((finish_sql($maker))[0], '', 'it is frozen then');
sql($node, qq{SELECT id FROM $schema.thaw_all()});

# --- check ------------------------------------------------------------------

($status, $out, $err) = cli($node, 'check', '--role=app', '--strategy=revoke');
is("$status$err", '0', 'check');
like($out, qr/^ strategy \| revoke +\| +\| asked for by argument/m, '... which strategy');
my $changes = () = $out =~ /^ change +\|/mg;
cmp_ok($changes, '<', 10, '... objects that go the same way are one line');
like($out, qr/and 28 more/, '... that counts them');
$changes = () = (cli($node, 'check', '--role=app', '--strategy=revoke', '-v'))[1] =~ /^ change +\|/mg;
is($changes, sql($node, qq{SELECT count(*) FROM $schema.freeze_check('role', 'app', strategy => 'revoke') WHERE item LIKE 'change'}), '... and with -v have one each');
$json = from_json((cli($node, 'check', '--role=app', '--strategy=revoke', '--json'))[1]);
is(scalar(grep { $_->{item} eq 'change' } @$json), $changes, '... as in the JSON');
is(sql($node, qq{SELECT count(*) FROM $schema.freeze_status}), 0, 'it freezes nothing');

foreach my $form ([], ['--json'])
{
	($status, $out, $err) = cli($node, 'check', '--role=joe', '--strategy=revoke', @$form);
	is($status, 1, "check of what would be refused @$form");
	like($err, qr/^pg_freeze: this freeze would be refused: .*nothing/, '... says why');
	like($out, qr/refused/, '... and so does the output');
}
like((cli($node, 'check', '--cluster', '--strategy=lock'))[2], qr/^pg_freeze: ERROR: strategy lock .*\npg_freeze: HINT: /, 'a combination that there is not');

is((cli(undef, { stdout => '/dev/full' }, 'check', '--help'))[0], 1, 'output that can not be written is an error') if -c '/dev/full';

done_testing();
