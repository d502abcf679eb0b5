/** Saves a response to a file while it arrives. */

/** Where the bytes go. */
export interface FileSink {
  write(bytes: Uint8Array<ArrayBuffer>): Promise<void>;
  /** The file is whole. */
  close(): Promise<void>;
  /** The file is not whole. */
  abort(): Promise<void>;
}

/**
 * Requests a response and writes its body to the sink; `onProgress` gets the number of bytes so far. Rejects if there is none, or it breaks
 * off, having aborted the sink.
 */
export async function saveBody(request: () => Promise<Response>, sink: FileSink, onProgress: (bytes: number) => void): Promise<void> {
  let size = 0;
  try {
    const { body } = await request();
    const reader = (body as ReadableStream<Uint8Array<ArrayBuffer>>).getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      await sink.write(part.value);
      size += part.value.length;
      onProgress(size);
    }
    await sink.close();
  } catch (error) {
    await sink.abort().catch(() => undefined);
    throw error;
  }
}
