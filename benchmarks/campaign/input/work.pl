use threads;
use Storable qw(dclone);
use Data::Dumper;
$Data::Dumper::Sortkeys = 1;

my %h;
$h{$_ % 997}{$_} = [$_, "v$_"] for 1 .. 150000;
print length(Dumper(dclone(\%h))), "\n";

my $t = join ' ', map { "w$_" } 1 .. 100000;
my $n = () = $t =~ /w(\d)(\d+)\b/g;
$t =~ s/(\d+)/sprintf('%x', $1)/ge;
print $n, ' ', length $t, "\n";

sub work {
    my ($i) = @_;
    my %x;
    $x{$_ . $i} = 'y' x ($_ % 90) for 1 .. 20000;
    return scalar keys %x;
}
my @threads = map { threads->create(\&work, $_) } 1 .. 4;
print $_->join, "\n" for @threads;

eval { local $SIG{ALRM} = sub { die 'late' }; alarm 1; 1 while 1 };
print $@ =~ /late/ ? "late\n" : "no\n";
