import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

public class Work {
    public static void main(String[] arguments) {
        Map<String, List<Integer>> map = new TreeMap<>();
        for (int i = 0; i < 500000; i++)
            map.computeIfAbsent("k" + i % 5003, key -> new ArrayList<>()).add(i);
        System.out.println(map.values().parallelStream().mapToLong(v -> v.stream().mapToLong(x -> x).sum()).sum());
        String text = IntStream.range(0, 200000).mapToObj(Integer::toString).collect(Collectors.joining());
        System.out.println(text.hashCode());
    }
}
