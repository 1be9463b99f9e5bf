# Strategies disconnect and read_only: freezes of a role, a database and the
# cluster overlap at random, made and thawed from two databases, up to three of
# them at a time, some by their deadlines, with immediate shutdowns in between.
# After each step whoever a live freeze covers is stopped, and nobody else; in the
# end the shared catalogs are what they were.
#
# PF_STEPS (14): how many, PF_SEED: which ones (printed).

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $steps = $ENV{PF_STEPS} || 14;
my $seed = $ENV{PF_SEED} || int(rand(1 << 30));
srand($seed);
diag("PF_SEED=$seed PF_STEPS=$steps");

my $node = new_server('main', conf => "autovacuum = off\nlog_statement = none\n");
make_application($node, tables => 2);
sql($node, q{
CREATE DATABASE shop CONNECTION LIMIT 50;
CREATE DATABASE second;
ALTER ROLE app SET work_mem = '5MB';
ALTER ROLE app SET default_transaction_read_only = off;
ALTER ROLE app SET statement_timeout = '1h';
ALTER ROLE reader IN DATABASE shop SET default_transaction_read_only = off;
ALTER ROLE agent NOLOGIN;
ALTER ROLE ALL SET lock_timeout = '1h';
});
sql($node, q{CREATE EXTENSION pg_freeze;}, db => 'second');
sql($node, q{
CREATE SCHEMA app AUTHORIZATION app;
SET ROLE app;
CREATE TABLE app.writes (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, who int);
GRANT INSERT ON app.writes TO reader;
GRANT USAGE ON SCHEMA app TO reader;
}, db => 'shop');
sql($node, 'GRANT INSERT ON app.writes TO reader; GRANT USAGE ON SCHEMA app TO reader');
my $before = privileges($node);

# What freezes, and whom: role and database, undef is any.
my %kinds = (
	'disconnect role' => [ q{freeze_role('app', mode => 'all', strategy => 'disconnect'}, 'app', undef ],
	'disconnect database' => [ q{freeze_database('shop', mode => 'all', strategy => 'disconnect'}, undef, 'shop' ],
	'disconnect cluster' => [ q{freeze_cluster(mode => 'all', strategy => 'disconnect'}, undef, undef ],
	'read_only role' => [ q{freeze_role('app', strategy => 'read_only'}, 'app', undef ],
	'read_only database' => [ q{freeze_database('shop', strategy => 'read_only'}, undef, 'shop' ],
	'read_only cluster' => [ q{freeze_cluster(strategy => 'read_only'}, undef, undef ]);

sub pick { return $_[ int rand @_ ]; }

# What a statement of somebody gets while these freezes are live; psql says no
# SQLSTATE of a login.
sub expected
{
	my ($role, $db, @live) = @_;
	my @his = grep {
		my (undef, $his_role, $his_db) = @{ $kinds{ $_->{kind} } };
		(!defined $his_role || $his_role eq $role) && (!defined $his_db || $his_db eq $db)
	} @live;

	return '08000' if grep { $_->{kind} =~ /disconnect/ } @his;
	return @his ? '25006' : 'done';
}

# Who isn't treated as he has to be.
sub wrong
{
	my (@live) = @_;
	my @wrong;

	foreach my $role ('app', 'reader')
	{
		foreach my $db ('postgres', 'shop')
		{
			my $goes = writing($node, user => $role, db => $db);
			my $right = expected($role, $db, @live);
			push @wrong, "$role in $db: $goes instead of $right" if $goes ne $right;
		}
	}
	return join ', ', @wrong;
}

my (@live, %done);
foreach my $step (1 .. $steps + 1)
{
	my @calls;

	foreach (1 .. ($step > $steps ? @live : 1 + int(rand(3))))
	{
		my $thaw = @live && ($step > $steps || rand() < (@live > 5 ? 0.8 : 0.4));
		my %call = $thaw ? %{ splice(@live, rand @live, 1) } : (kind => pick(sort keys %kinds), home => pick('postgres', 'second'));

		$call{thaws} = $thaw;
		$call{deadline} = !$thaw && rand() < 0.2 ? 500 + int(rand(1500)) : 0;
		$call{text} = $thaw ? "SELECT id, skipped, held IS DISTINCT FROM false, lost_reason FROM thaw($call{id})" :
		  "SELECT $kinds{$call{kind}}[0], drain_timeout => '20s'" . ($call{deadline} ? ", thaw_after => '$call{deadline} ms')" : ')');
		$done{ ($thaw ? 'thaw ' : 'freeze ') . $call{kind} }++;
		push @calls, \%call;
	}
	# all at once; cluster and read_only: the caller's own default may be read-only
	$_->{running} = start_sql($node, "$_->{text};", db => $_->{home}, user => 'caller') foreach @calls;
	my @failed;
	foreach my $call (@calls)
	{
		my ($state, $out, $err) = finish_sql($call->{running});

		push @failed, "$call->{text} in $call->{home}: $err" if $state ne '';
		push @failed, "$call->{text} in $call->{home}: $out" if $call->{thaws} && $state eq '' && $out !~ /^\d+\|0\|t\|$/;
		push @live, { kind => $call->{kind}, home => $call->{home}, id => $out, deadline => $call->{deadline} } unless $call->{thaws};
	}
	is(join("\n", @failed), '', "step $step: " . join(', ', map { ($_->{thaws} ? 'thaw ' : 'freeze ') . "$_->{kind} in $_->{home}" } @calls))
	  or last;
	# those that have a deadline are not there long enough to count on them
	foreach my $over (grep { $_->{deadline} } @live)
	{
		wait_until($node, "SELECT state = 'thawed' AND held IS DISTINCT FROM false AND skipped = 0 FROM freeze_journal WHERE id = $over->{id}", db => $over->{home});
	}
	@live = grep { !$_->{deadline} } @live;
	if (rand() < 0.15)
	{
		$node->stop('immediate');
		$node->start;
		$done{'immediate shutdown'}++;
	}
	is(wrong(@live), '', 'stopped is who is covered by: ' . (join(', ', map { "$_->{kind} in $_->{home}" } @live) || 'nothing')) or last;
}
same_privileges(privileges($node), $before, 'the catalogs are what they were');
is(sql($node, q{SELECT count(*) FROM freeze_journal_value}) + sql($node, q{SELECT count(*) FROM freeze_journal_value}, db => 'second'), 0, 'the journals have nothing left');
unlike(slurp_file($node->logfile), qr/deadlock detected|PANIC|TRAP|XX000|thaw of freeze \d+ failed/, 'nothing strange is in the log');
diag("seed $seed: " . join(', ', map { "$_ $done{$_}" } sort keys %done));
done_testing();
