# A model of thaw: the same random GRANTs, REVOKEs and DDL by third parties in
# two databases, of which one is frozen meanwhile, end in the same privileges.
#
# PF_RANDOM: number of rounds; PF_SEED: repeats a run, round by round.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rounds = $ENV{PF_RANDOM} || 25;
my $seed = $ENV{PF_SEED} || int(rand(1e9));
note "PF_SEED=$seed PF_RANDOM=$rounds";

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "autovacuum = off\nfsync = off\nmax_worker_processes = 20\n");
$node->start;

my @roles = map { "r$_" } 0 .. 5;
my @crowd = map { "crowd$_" } 1 .. 150;
my %privileges = (
	table => [qw(SELECT INSERT UPDATE DELETE TRUNCATE REFERENCES TRIGGER)],
	column => [qw(SELECT INSERT UPDATE REFERENCES)],
	sequence => [qw(USAGE SELECT UPDATE)],
	schema => [qw(USAGE CREATE)],
	function => ['EXECUTE'],
	domain => ['USAGE'],
	'large object' => [qw(SELECT UPDATE)]);

# what the ACLs are, in the words of a set and in bytes
my $look = <<'EOS';
WITH o (kind, name, owner, acl, std, classid, oid, sub) AS (
	SELECT 'table', relnamespace::regnamespace || '.' || relname, relowner, relacl,
		CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", 1259, oid, 0
	FROM pg_class WHERE relnamespace IN ('sa'::regnamespace, 'sb'::regnamespace) AND relkind IN ('r', 'v', 'S', 'p')
UNION ALL
	SELECT 'column', relnamespace::regnamespace || '.' || relname || '.' || attname, relowner, attacl, 'c', 1259, c.oid, attnum
	FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
	WHERE relnamespace IN ('sa'::regnamespace, 'sb'::regnamespace) AND attacl IS NOT NULL AND NOT attisdropped
UNION ALL
	SELECT 'schema', nspname, nspowner, nspacl, 'n', 2615, oid, 0 FROM pg_namespace WHERE nspname IN ('sa', 'sb')
UNION ALL
	SELECT 'function', proname, proowner, proacl, 'f', 1255, oid, 0
	FROM pg_proc WHERE pronamespace IN ('sa'::regnamespace, 'sb'::regnamespace)
UNION ALL
	SELECT 'domain', typname, typowner, typacl, 'T', 1247, oid, 0
	FROM pg_type WHERE typnamespace IN ('sa'::regnamespace, 'sb'::regnamespace) AND typtype = 'd'
UNION ALL
	SELECT 'large object', oid::text, lomowner, lomacl, 'L', 2613, oid, 0 FROM pg_largeobject_metadata
UNION ALL
	SELECT 'default', defaclrole::regrole || ' ' || defaclobjtype::text || ' ' || defaclnamespace::regnamespace, defaclrole, defaclacl,
		NULL, 826, oid, 0
	FROM pg_default_acl)
EOS
my $as_set = $look . <<'EOS';
SELECT kind, name, owner::regrole,
	(SELECT string_agg(format('%s=%s%s/%s', CASE grantee WHEN 0 THEN '' ELSE grantee::regrole::text END,
		privilege_type, CASE WHEN is_grantable THEN '*' END, grantor::regrole), ' '
		ORDER BY grantee, privilege_type, is_grantable, grantor)
	FROM aclexplode(coalesce(acl, CASE WHEN std = 'c' THEN NULL ELSE acldefault(std, owner) END))) AS acl,
	(SELECT string_agg(refobjid::regrole || deptype::text, ' ' ORDER BY refobjid, deptype) FROM pg_shdepend s
	WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
		AND s.classid = o.classid AND objid = o.oid AND objsubid = sub) AS depends
FROM o ORDER BY 1, 2;
EOS
my $as_bytes = $look . "SELECT kind, name, owner::regrole, acl IS NULL, acl FROM o ORDER BY 1, 2;";

sub pick { return $_[ int(rand(@_)) ] }
sub some { my @a = grep { rand() < 0.4 } @_; return @a ? @a : (pick(@_)) }

my (%kind, %schema, $serial, %touched);

# an object that there should be, with its kind
sub object
{
	my $name = pick(sort keys %kind);
	$touched{$name} = 1;
	return ($name, $kind{$name});
}

sub full { my ($name) = @_; return $schema{$name} ? "$schema{$name}.$name" : $name }

# GRANT and REVOKE of anything
sub grant_text
{
	my ($revoke) = @_;
	my ($name, $kind) = object();
	my $on = full($name);
	my @grantees = rand() < 0.15 ? ('PUBLIC') : some(@roles[ 0 .. 3 ], $roles[4]);
	my $what = 'ALL';
	my $option = rand() < 0.4;
	my $text;

	@grantees = @grantees[ 0 .. 1 ] if @grantees > 2;
	$option = 0 if !$revoke && "@grantees" eq 'PUBLIC';
	if ($kind eq 'table' && rand() < 0.35)
	{
		$what = join(', ', map { "$_(" . pick('a', 'b', 'a, b') . ")" } some(@{ $privileges{column} })) ;
	}
	elsif (rand() < 0.75)
	{
		$what = join(', ', some(@{ $privileges{$kind} }));
	}
	if ($kind =~ /^(table|sequence)$/ && rand() < 0.1 && $what !~ /\(/)
	{
		$on = "ALL ${kind}s IN SCHEMA $schema{$name}";
		$touched{$_} = 1 for grep { $kind{$_} eq $kind } keys %kind;
		$kind = '';
	}
	$text = $revoke ? 'REVOKE ' . ($option ? 'GRANT OPTION FOR ' : '') : 'GRANT ';
	$text .= "$what ON $kind $on " . ($revoke ? 'FROM ' : 'TO ') . join(', ', @grantees);
	$text .= $option ? ' WITH GRANT OPTION' : '' if !$revoke;
	$text .= rand() < 0.6 ? ' CASCADE' : '' if $revoke;
	return $text;
}

# a statement of a third party that is no superuser needs nothing but the grant
sub statement
{
	my ($name, $kind) = object();
	my $on = full($name);
	my $dice = rand();

	return grant_text(0) if $dice < 0.30;
	return grant_text(1) if $dice < 0.70;
	return "ALTER $kind $on OWNER TO " . pick(@roles[ 0 .. 4 ]) if $dice < 0.80;
	return grant_text(1) if $kind =~ /schema|large/;
	if ($dice < 0.85)
	{
		my $new = $name . 'x' . ++$serial;
		$touched{$new} = 1;
		$kind{$new} = delete $kind{$name};
		$schema{$new} = delete $schema{$name};
		return "ALTER $kind $on RENAME TO $new";
	}
	if ($dice < 0.90)
	{
		my $to = $schema{$name} eq 'sa' ? 'sb' : 'sa';
		$schema{$name} = $to;
		return "ALTER $kind $on SET SCHEMA $to";
	}
	return grant_text(1) if $kind ne 'table';
	return "ALTER TABLE $on DROP COLUMN b; ALTER TABLE $on ADD COLUMN b int" if $dice < 0.93;
	if ($dice < 0.96)
	{
		delete $kind{$name};
		return "DROP TABLE $on";
	}
	# by a superuser: an owner's default privileges may be frozen
	return "DROP TABLE $on; RESET ROLE; CREATE TABLE $on (a int, b int); ALTER TABLE $on OWNER TO " . pick(@roles[ 2 .. 4 ]);
}

# Runs statements as roles; returns what became of each.
sub run_all
{
	my ($db, @statements) = @_;
	my $sql = '';
	for my $s (@statements)
	{
		my ($role, $text) = @$s;
		$sql .= "SET ROLE $role;\n" if $role;
		# which of several objects fails first depends on their order in the catalog
		$sql .= join('', map { "$_;\n\\echo " . (/ALL \w+ IN SCHEMA/ ? ':ERROR' : ':SQLSTATE') . "\n" } split(/; /, $text));
		$sql .= "RESET ROLE;\n" if $role;
	}
	my ($out, $err);
	$node->psql($db, $sql, stdout => \$out, stderr => \$err, on_error_stop => 0);
	return $out;
}

# The same in both; false and a diagnosis where it went differently.
my @history;
my %first;

sub both
{
	my (@statements) = @_;
	push @history, map { ($_->[0] ? "SET ROLE $_->[0]; " : '') . $_->[1] } @statements;
	my $frozen = run_all('frozen', @statements);
	my $control = run_all('control', @statements);
	return 1 if $frozen eq $control;

	my @f = split /\n/, $frozen;
	my @c = split /\n/, $control;
	my @texts = map { my $r = $_->[0]; map { ($r ? "$r: " : '') . $_ } split(/; /, $_->[1]) } @statements;
	diag "went differently (frozen, control): $f[$_], $c[$_]: $texts[$_]" for grep { $f[$_] ne $c[$_] } 0 .. $#c;
	return 0;
}

sub rows
{
	my ($db, $query) = @_;
	my %rows;
	for my $line (split /\n/, $node->safe_psql($db, $query))
	{
		my ($kind, $name, $rest) = split /\|/, $line, 3;
		$rows{"$kind $name"} = $rest;
	}
	return \%rows;
}

sub compare
{
	my ($got, $expected, $what) = @_;
	my %keys = (%$got, %$expected);
	my $same = 1;
	for my $key (sort keys %keys)
	{
		my ($g, $e) = map { $_ // 'none' } ($got->{$key}, $expected->{$key});
		next if $g eq $e;
		diag "$what, $key:\n  thawed   $g\n  expected $e";
		diag "    at first $first{$key}" if exists $first{$key};
		$same = 0;
	}
	return $same;
}

$node->safe_psql('postgres', join('', map { "CREATE ROLE $_;" } @roles, @crowd));
$node->safe_psql('postgres', "CREATE DATABASE $_") for ('frozen', 'control');
$node->safe_psql('frozen', 'CREATE EXTENSION pg_freeze');

my $failed = 0;
for my $round (1 .. $rounds)
{
	srand($seed + $round);
	my $ok = 1;
	my @setup;

	%kind = %schema = ();
	$serial = 0;
	for my $n (0 .. 4) { $kind{"t$n"} = 'table'; $schema{"t$n"} = pick('sa', 'sb'); }
	for my $n (0 .. 1) { $kind{"q$n"} = 'sequence'; $schema{"q$n"} = pick('sa', 'sb'); }
	$kind{f} = 'function';
	$schema{f} = 'sa';
	$kind{d} = 'domain';
	$schema{d} = 'sb';
	$kind{$_} = 'schema' for ('sa', 'sb');
	$kind{$_} = 'large object' for (1001, 1002);

	push @setup, [ '', 'DROP SCHEMA IF EXISTS sa, sb CASCADE' ],
	  [ '', 'SELECT lo_unlink(oid) FROM pg_largeobject_metadata' ],
	  [ '', 'CREATE SCHEMA sa' ], [ '', 'CREATE SCHEMA sb' ],
	  [ '', 'GRANT USAGE ON SCHEMA sa, sb TO PUBLIC' ];
	for my $name (sort keys %kind)
	{
		my $on = full($name);
		push @setup, [ '', "CREATE TABLE $on (a int, b int)" ] if $kind{$name} eq 'table';
		push @setup, [ '', "CREATE SEQUENCE $on" ] if $kind{$name} eq 'sequence';
		push @setup, [ '', "CREATE FUNCTION $on() RETURNS int LANGUAGE sql AS 'SELECT 1'" ] if $kind{$name} eq 'function';
		push @setup, [ '', "CREATE DOMAIN $on AS int" ] if $kind{$name} eq 'domain';
		push @setup, [ '', "SELECT lo_create($on)" ] if $kind{$name} eq 'large object';
		push @setup, [ '', "ALTER $kind{$name} $on OWNER TO " . pick(@roles[ 0 .. 3 ]) ] if rand() < 0.8;
	}
	# an ACL that the journal has to toast
	push @setup, [ '', 'GRANT SELECT ON ' . full('t0') . ' TO ' . join(', ', @crowd) ];
	for my $type ('TABLES', 'SEQUENCES')
	{
		push @setup, [ '', "ALTER DEFAULT PRIVILEGES FOR ROLE r2 IN SCHEMA sa GRANT ALL ON $type TO " . join(', ', some(@roles[ 0 .. 2 ])) ];
	}
	push @setup, map { [ pick('', @roles[ 0 .. 4 ]), grant_text(rand() < 0.2) ] } 1 .. 60;
	@history = ();
	both(@setup) or $ok = 0;
	%first = %{ rows('frozen', $as_bytes) };
	$ok = 0 unless compare(rows('frozen', $as_set), rows('control', $as_set), 'before');

	%touched = ();

	# freeze once or a few times, do things, thaw in any order
	my @actors = ('', '', '', '', @roles);
	my @live;
	for my $n (1 .. pick(1, 1, 1, 2, 3))
	{
		my $mode = pick('write', 'write', 'all');
		my ($kind, $target) = @{ pick([ 'role', 'r0' ], [ 'role', 'r0' ], [ 'role', 'r1' ], [ 'role', 'r2' ],
				[ 'schema', pick('sa', 'sb') ], [ 'database', 'frozen' ]) };
		my ($id, $err);
		push @history, "freeze_$kind('$target', '$mode')";
		if ($node->psql('frozen', "SET pg_freeze.strategy = 'revoke'; SELECT freeze_$kind('$target', '$mode')", stdout => \$id, stderr => \$err) == 0)
		{
			push @live, $id;
			@actors = grep { $_ ne $target && ($kind eq 'role' || $_ eq '') } @actors;
		}
		elsif ($err !~ /nothing to freeze/)
		{
			diag $err;
			$ok = 0;
		}
		both(map { [ pick(@actors), statement() ] } 1 .. pick(0, 0, 3)) or $ok = 0;
	}
	my $changes = pick(0, 1, 1, 1);
	both(map { [ pick(@actors), statement() ] } 1 .. 8) or $ok = 0 if $changes;
	while (@live)
	{
		my $id = splice(@live, int(rand(@live)), 1);
		my ($row, $err);
		push @history, "thaw($id)";
		if ($node->psql('frozen', "SELECT * FROM thaw($id)", stdout => \$row, stderr => \$err) != 0)
		{
			diag $err;
			$ok = 0;
		}
		both(map { [ pick(@actors), statement() ] } 1 .. 2) or $ok = 0 if $changes && @live;
	}

	$ok = 0 unless compare(rows('frozen', $as_set), rows('control', $as_set), 'after');

	# bytes, where nobody touched the object
	my $bytes = rows('frozen', $as_bytes);
	my %untouched = %first;
	for my $rows (\%untouched, $bytes)
	{
		delete $rows->{$_} for grep { /^\S+(?: object)? (?:s[ab]\.)?(\w+)/ && $touched{$1} } keys %$rows;
	}
	$ok = 0 unless compare($bytes, \%untouched, 'bytes');

	if (!$ok)
	{
		$failed++;
		diag "round $round failed: PF_SEED=" . ($seed + $round - 1) . " PF_RANDOM=1";
		diag join("\n", map { "    $_;" } @history[ (@setup - 60) .. $#history ]) if $ENV{PF_RANDOM} && $rounds == 1;
		last if $failed >= 3;
	}
}
is($failed, 0, "$rounds rounds of random changes by third parties (PF_SEED=$seed)");

done_testing();
