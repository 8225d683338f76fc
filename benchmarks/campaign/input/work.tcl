for {set i 0} {$i < 100000} {incr i} {
    dict lappend d [expr {$i % 1009}] [string repeat v [expr {$i % 40}]]
}
puts [string length $d]
puts [llength [lsort -unique [split [regsub -all {v+} $d <&>] <]]]
proc fib n { expr {$n < 2 ? $n : [fib [expr {$n - 1}]] + [fib [expr {$n - 2}]]} }
puts [fib 20]
set other [interp create]
$other eval {set x [lrepeat 50000 abc]; puts [string length $x]}
interp delete $other
