# A client for what libpq can't do: one message of the protocol at a time,
# over a Unix socket, without authentication.
package Wire;

use strict;
use warnings FATAL => 'all';

use Errno;
use IO::Select;
use IO::Socket::UNIX;

sub connect
{
	my ($class, $node, %startup) = @_;
	my $socket = IO::Socket::UNIX->new($node->host . '/.s.PGSQL.' . $node->port)
	  or die "no connection: $!";
	my $self = bless { socket => $socket, name => $startup{user} }, $class;
	my $body = pack('N', 196608) . join('', map { "$_\0$startup{$_}\0" } sort keys %startup) . "\0";

	syswrite $socket, pack('N', 4 + length $body) . $body;
	my $error = $self->ready;
	die "cannot log in as $startup{user}: $error->{C} $error->{M}" if $error;
	return $self;
}

sub message
{
	my ($self, $type, $body) = @_;
	$body = '' unless defined $body;
	my $bytes = $type . pack('N', 4 + length $body) . $body;
	while (length $bytes)
	{
		my $n = syswrite $self->{socket}, $bytes;
		return $self unless defined $n;    # the server has gone: ready() says so
		substr($bytes, 0, $n) = '';
	}
	return $self;
}

sub bytes
{
	my ($self, $n) = @_;
	my $bytes = '';
	my $end = time + 60;
	while (length $bytes < $n)
	{
		# a signal ends both, too
		if (!IO::Select->new($self->{socket})->can_read(1))
		{
			die "$self->{name}: no answer for 60 s" if time > $end;
			next;
		}
		my $got = sysread $self->{socket}, $bytes, $n - length $bytes, length $bytes;
		return undef unless $got || (!defined $got && $!{EINTR});
	}
	return $bytes;
}

# Reads messages until one of the type; keeps rows, notifications, pid.
# Returns the first error as a hash of its fields, or undef.
sub until
{
	my ($self, $until) = @_;
	my $error;
	while (1)
	{
		my $head = $self->bytes(5);
		return $error || { C => '08006', M => 'connection closed' } unless defined $head;
		my ($type, $length) = unpack 'aN', $head;
		my $body = $length > 4 ? $self->bytes($length - 4) : '';

		if ($type eq 'E') { $error ||= { map { (substr($_, 0, 1) => substr($_, 1)) } split /\0/, $body } }
		elsif ($type eq 'D' || $type eq 'V') { push @{ $self->{rows} }, row($type, $body) }
		elsif ($type eq 'A') { push @{ $self->{notified} }, (split /\0/, substr $body, 4)[0] }
		elsif ($type eq 'K') { ($self->{pid}, $self->{key}) = unpack 'Na*', $body }
		elsif ($type eq 'N') { push @{ $self->{notices} }, { map { (substr($_, 0, 1) => substr($_, 1)) } split /\0/, $body } }
		elsif ($type eq 'Z') { $self->{state} = $body }
		elsif ($type eq 'G' && $until ne 'G') { $self->message(d => $self->{copy})->message('c') }
		elsif ($type eq 'R') { die "authentication $body" if unpack 'N', $body }
		return $error if $type eq 'Z' || $type eq $until || ($until ne 'Z' && $type eq 'E');
	}
}

sub ready { return $_[0]->until('Z') }

sub row
{
	my ($type, $body) = @_;
	my ($at, @values) = (2);
	return [ substr $body, 4 ] if $type eq 'V';
	for (1 .. unpack 'n', $body)
	{
		my $length = unpack 'l>', substr $body, $at, 4;
		push @values, $length < 0 ? undef : substr $body, $at + 4, $length;
		$at += 4 + ($length > 0 ? $length : 0);
	}
	return \@values;
}

# Simple query; send() doesn't wait, idle() is true while nothing has come.
sub send
{
	my ($self, $sql) = @_;
	$self->{rows} = [];
	return $self->message(Q => "$sql\0");
}

sub idle { return !IO::Select->new($_[0]->{socket})->can_read($_[1] || 0) }

sub query { my ($self, $sql) = @_; return $self->send($sql)->ready }

# A request to cancel, over a connection of its own.
sub cancel
{
	my ($self, $node) = @_;
	my $socket = IO::Socket::UNIX->new($node->host . '/.s.PGSQL.' . $node->port) or die "no connection: $!";
	syswrite $socket, pack('N3', 12 + length $self->{key}, 80877102, $self->{pid}) . $self->{key};
	sysread $socket, my $nothing, 1;
	return;
}

# The first value, or dies.
sub value
{
	my ($self, $sql) = @_;
	my $error = $self->query($sql);
	die "$self->{name}: $error->{M} ($sql)" if $error;
	return $self->{rows}[0] ? $self->{rows}[0][0] : undef;
}

# Extended protocol, without Sync.
sub parse { my ($self, $name, $sql) = @_; return $self->message(P => "$name\0$sql\0\0\0") }
sub bind { my ($self, $portal, $name) = @_; return $self->message(B => "$portal\0$name\0" . pack 'n3', 0, 0, 0) }
sub execute { my ($self, $portal, $rows) = @_; return $self->message(E => "$portal\0" . pack 'N', $rows || 0) }
sub sync { my ($self) = @_; $self->{rows} = []; return $self->message('S')->ready }

# Fast path, values as text.
sub call
{
	my ($self, $oid, @values) = @_;
	$self->{rows} = [];
	return $self->message(F => pack('Nnn', $oid, 0, scalar @values)
		  . join('', map { pack('N', length $_) . $_ } @values) . pack('n', 0))->ready;
}

sub close { my ($self) = @_; $self->message('X'); $self->{socket}->close; return }

1;
