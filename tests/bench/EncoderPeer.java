/* Tokens per second of an encoder in ONNX Runtime, beside `telltale model bench`: java -cp onnxruntime.jar EncoderPeer.java MODEL.onnx IDS.jsonl SECONDS THREADS
 *
 * IDS.jsonl: a line {"ids":[…]} for each text, as `telltale model tokens` prints them; cut to 512 (the last is [SEP]). Batches of 32, padded to the longest;
 * texts as they come, and sorted by length (the best case for padding). Real tokens are counted, padding is not. CPU seconds are those of the whole process.
 */
import ai.onnxruntime.*;
import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.nio.LongBuffer;
import java.nio.file.*;
import java.util.*;

public class EncoderPeer {
    static final int BATCH = 32, LENGTH = 512;
    static final long SEP = 102;

    static long[] ids(String line) {
        String inside = line.substring(line.indexOf('[') + 1, line.indexOf(']'));
        long[] all = Arrays.stream(inside.split(",")).mapToLong(s -> Long.parseLong(s.trim())).toArray();
        if (all.length > LENGTH) {
            all = Arrays.copyOf(all, LENGTH);
            all[LENGTH - 1] = SEP;
        }
        return all;
    }

    static int run(OrtEnvironment env, OrtSession session, List<long[]> texts) throws OrtException {
        int width = texts.stream().mapToInt(t -> t.length).max().getAsInt(), tokens = 0;
        LongBuffer id = LongBuffer.allocate(texts.size() * width), mask = LongBuffer.allocate(texts.size() * width),
                   type = LongBuffer.allocate(texts.size() * width);
        for (int i = 0; i < texts.size(); i++) {
            long[] t = texts.get(i);
            for (int k = 0; k < t.length; k++) {
                id.put(i * width + k, t[k]);
                mask.put(i * width + k, 1);
            }
            tokens += t.length;
        }
        long[] shape = {texts.size(), width};
        Map<String, OnnxTensor> in = new HashMap<>();
        for (String name : session.getInputNames())
            in.put(name, OnnxTensor.createTensor(env, name.contains("mask") ? mask : name.contains("type") ? type : id, shape));
        try (OrtSession.Result out = session.run(in)) {
            out.get(0);
        }
        for (OnnxTensor t : in.values())
            t.close();
        return tokens;
    }

    public static void main(String[] args) throws Exception {
        List<long[]> texts = new ArrayList<>();
        for (String line : Files.readAllLines(Path.of(args[1])))
            texts.add(ids(line));
        double seconds = Double.parseDouble(args[2]);
        OperatingSystemMXBean system = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        OrtEnvironment env = OrtEnvironment.getEnvironment();
        OrtSession.SessionOptions options = new OrtSession.SessionOptions();
        options.setIntraOpNumThreads(Integer.parseInt(args[3]));
        options.setOptimizationLevel(OrtSession.SessionOptions.OptLevel.ALL_OPT);
        options.addConfigEntry("session.intra_op.allow_spinning", "0"); // CPU seconds of waiting would be held against it
        OrtSession session = env.createSession(args[0], options);
        for (String order : new String[] {"as they come", "sorted"}) {
            List<long[]> all = new ArrayList<>(texts);
            if (order.equals("sorted"))
                all.sort(Comparator.comparingInt(t -> t.length));
            List<List<long[]>> batches = new ArrayList<>();
            for (int i = 0; i < all.size(); i += BATCH)
                batches.add(all.subList(i, Math.min(i + BATCH, all.size())));
            run(env, session, batches.get(batches.size() / 2));
            long begin = System.nanoTime(), cpu = system.getProcessCpuTime(), tokens = 0;
            int step = order.equals("sorted") ? 7 : 1; // so that a run cut short has short and long ones
            for (int i = 0; System.nanoTime() - begin < seconds * 1e9; i++)
                tokens += run(env, session, batches.get(i * step % batches.size()));
            System.out.printf(Locale.ROOT, "%s: %.0f tokens/s, %.0f a CPU second%n", order, tokens / ((System.nanoTime() - begin) / 1e9),
                tokens / ((system.getProcessCpuTime() - cpu) / 1e9));
        }
    }
}
