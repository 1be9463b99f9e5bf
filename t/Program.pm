# The program pg_freeze in tests.

package Program;

use strict;
use warnings;

use Exporter 'import';
use File::Spec ();
use IPC::Run ();
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

our @EXPORT = qw(program program_on_terminal json);

# What leads it to a server.  Its own environment has nothing of the tester's.
sub environment
{
	my ($node, %opt) = @_;
	my %env = (PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => $opt{db} || 'postgres', PGAPPNAME => undef, COLUMNS => undef);

	$env{PGUSER} = $opt{user} if $opt{user};
	return (%env, %{ $opt{env} || {} });
}

# (exit status, output, stderr) of pg_freeze with these arguments; a reference to
# a hash at their end has options: db, user, env.
sub program
{
	my ($node, @arguments) = @_;
	my %opt = ref $arguments[-1] eq 'HASH' ? %{ pop @arguments } : ();
	my %env = environment($node, %opt);
	my ($out, $err) = ('', '');

	local %ENV = (%ENV, %env);
	delete $ENV{$_} foreach (grep { !defined $env{$_} } keys %env);
	IPC::Run::run([ 'pg_freeze', @arguments ], '<', File::Spec->devnull, '>', \$out, '2>', \$err,
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	my $status = $? & 127 ? 128 + ($? & 127) : $? >> 8;
	chomp $out;
	return ($status, $out, $err);
}

# What it prints on a terminal of so many columns.
sub program_on_terminal
{
	my ($node, $columns, @arguments) = @_;
	my $out = '';

	local %ENV = (%ENV, environment($node), COLUMNS => $columns);
	delete $ENV{PGAPPNAME};
	IPC::Run::run([ 'pg_freeze', @arguments ], '<pty<', \undef, '>pty>', \$out,
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	$out =~ s/\r\n/\n/g;
	return $out;
}

sub json { return JSON::PP->new->utf8->decode($_[0]); }

1;
