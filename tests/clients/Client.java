// java Client.java URL: the WebSocket client of the Java platform, which has no extensions, sends messages, each after the answer to
// the one before, then closes. Prints the codes of the answers and the close code as one line of JSON.

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.WebSocket;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

class Client implements WebSocket.Listener {
    private static final int MESSAGES = 4;
    private static final Pattern ERROR = Pattern.compile("\"type\":\"error\",\"code\":\"(\\w+)\"");

    private final StringBuilder text = new StringBuilder();
    private final List<String> answers = new ArrayList<>();
    private final CompletableFuture<Integer> closed = new CompletableFuture<>();

    public static void main(String[] arguments) {
        Client client = new Client();
        HttpClient.newHttpClient().newWebSocketBuilder().buildAsync(URI.create(arguments[0]), client).join();
        int code = client.closed.join();
        System.out.println("{\"answers\":[\"" + String.join("\",\"", client.answers) + "\"],\"code\":" + code + "}");
    }

    private void send(WebSocket socket) {
        socket.sendText("{\"type\":\"x" + answers.size() + "\",\"text\":\"" + "the same text ".repeat(200) + "\"}", true);
    }

    @Override
    public void onOpen(WebSocket socket) {
        send(socket);
        socket.request(1);
    }

    @Override
    public CompletionStage<?> onText(WebSocket socket, CharSequence part, boolean last) {
        text.append(part);
        if (last) {
            Matcher error = ERROR.matcher(text.toString());
            text.setLength(0);
            if (error.find()) {
                answers.add(error.group(1));
                if (answers.size() < MESSAGES) {
                    send(socket);
                } else {
                    socket.sendClose(WebSocket.NORMAL_CLOSURE, "");
                }
            }
        }
        socket.request(1);
        return null;
    }

    @Override
    public CompletionStage<?> onClose(WebSocket socket, int code, String reason) {
        closed.complete(code);
        return null;
    }

    @Override
    public void onError(WebSocket socket, Throwable error) {
        closed.completeExceptionally(error);
    }
}
