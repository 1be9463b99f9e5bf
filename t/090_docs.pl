# The docs name everything that there is, and say first what "freeze" means.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = "$FindBin::RealBin/..";
my %page = map { m{([^/]+)$}; $1 => slurp_file($_) } glob("$root/*.md $root/doc/*.md");

# Prose wraps lines.
sub flat { my ($text) = @_; $text =~ s/\s+/ /g; return $text; }

foreach my $name (sort keys %page)
{
	my ($begin) = flat($page{$name}) =~ /^(.{0,300})/;

	like($begin, qr/nothing to do with VACUUM FREEZE/, "$name says what freeze means");
}
foreach my $name ('README.md', 'how-it-works.md', 'recipes.md', 'backup.md')
{
	like(flat($page{$name}), qr/snapshot[^.]*must be (?:\*\*)?atomic over all volumes/, "$name says what a snapshot must be");
}

my $node = new_server('docs');
sql($node, 'CREATE EXTENSION pg_freeze');
my @names = split /\n/, sql($node, q{LOAD 'pg_freeze';
SELECT DISTINCT coalesce(p.proname, c.relname, e.evtname)
FROM pg_depend d
	LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
	LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
	LEFT JOIN pg_event_trigger e ON d.classid = 'pg_event_trigger'::regclass AND e.oid = d.objid
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND d.classid <> 'pg_type'::regclass
	AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pg_freeze')
UNION SELECT name FROM pg_settings WHERE name LIKE 'pg_freeze.%'
UNION SELECT attname FROM pg_attribute WHERE attrelid IN ('freeze_status'::regclass, 'freeze_blockers'::regclass,
	'freeze_backup_status'::regclass, 'freeze_changes'::regclass, 'freeze_sessions_signalled'::regclass, 'freeze_waiters'::regclass) AND attnum > 0
ORDER BY 1});

cmp_ok(scalar @names, '>', 60, 'the catalog lists what there is');
foreach my $name (@names)
{
	like($page{'reference.md'}, qr/(?<![\w.])\Q$name\E(?![\w.])/, "reference.md has $name");
}

# What it says of functions: signatures as in the catalog, up to the defaults.
foreach my $signature (split /\n/, sql($node, q{
SELECT p.proname || '(' || coalesce(string_agg(a.name || ' ' || format_type(a.type, NULL), ', ' ORDER BY a.ord), '')
FROM pg_proc p
	JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
		AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pg_freeze')
	CROSS JOIN LATERAL unnest(p.proargnames[1:p.pronargs], p.proargtypes::oid[]) WITH ORDINALITY AS a (name, type, ord)
WHERE p.proname IN ('freeze_role', 'freeze_extend', 'freeze_alter', 'freeze_undo', 'stop_role',
	'freeze_in_force', 'freeze_in_flight', 'freeze_holder_pid', 'freeze_waiting') OR p.proname LIKE 'thaw%'
	OR p.proname IN ('freeze_backup_begin', 'freeze_backup_end', 'freeze_backup_abort')
GROUP BY p.oid ORDER BY 1}))
{
	my $documented = flat($page{'reference.md'});

	$documented =~ s/ DEFAULT [^,)]*?(?:\(\))?(?=[,)])//g;
	$documented =~ s/\bint\b/integer/g;
	$documented =~ s/\bINOUT //g;
	like($documented, qr/\Q$signature\E/, $signature);
}

# The program: its commands, and all options in its man page.
my ($help) = run_command([ 'pg_freeze', '--help' ]);
my @commands = $help =~ /Commands:(.*?)Exit status/s ? $1 =~ /^  ([a-z-]+)/mg : ();
my $man = slurp_file("$root/doc/pg_freeze.1");

$man =~ s/\\-/-/g;
cmp_ok(scalar @commands, '>', 10, 'the program lists its commands');
foreach my $command (@commands)
{
	like($page{'reference.md'}, qr/`\Q$command\E\b/, "reference.md has pg_freeze $command");
	like($man, qr/(?<![\w-])\Q$command\E(?![\w-])/, "pg_freeze.1 has $command");
	foreach my $option ((run_command([ 'pg_freeze', $command, '--help' ]))[0] =~ /^ +(?:-\w, )?(--[a-z-]+)/mg)
	{
		like($man, qr/\Q$option\E(?![\w-])/, "pg_freeze.1 has $option of $command");
	}
}
foreach my $script (map { m{([^/]+)$} } glob("$root/doc/recipes/*"))
{
	like($page{'recipes.md'}, qr{\(recipes/\Q$script\E\)}, "recipes.md has $script");
}

done_testing();
