import { Component, type ReactNode } from "react";
import { useTranslate } from "../i18n.ts";

interface Props {
  children: ReactNode;
  /** The class of the panel, which decides its place. */
  className: string;
}

/** Shows a panel. If it cannot be drawn, because of data that the page cannot cope with, the rest of the page stays. */
export class PanelBoundary extends Component<Props, { failed: boolean }> {
  override state = { failed: false };

  static getDerivedStateFromError() {
    return { failed: true };
  }

  override render() {
    if (!this.state.failed) return this.props.children;
    return <FailedPanel className={this.props.className} onRetry={() => this.setState({ failed: false })} />;
  }
}

function FailedPanel({ className, onRetry }: { className: string; onRetry: () => void }) {
  const t = useTranslate();
  return (
    <section className={`panel panel-failed ${className}`}>
      <p className="error" role="alert">
        {t("panelFailed")}{" "}
        <button type="button" onClick={onRetry}>
          {t("retry")}
        </button>
      </p>
    </section>
  );
}
